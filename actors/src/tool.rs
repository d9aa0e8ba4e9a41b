//! The tools built into the runtime: which there are, what they take and give. All are pure functions over values.

pub mod address;
pub(crate) mod attempt;
pub mod forecast;
pub mod http;
pub mod mcp;
mod numbers;
pub mod statistics;

use commedia_domain::tool::Builtins;
use commedia_domain::value::Value;

/// A built-in as its users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinDoc {
    /// The name in `use:`.
    pub name: &'static str,
    /// What it does, for people and models.
    pub description: &'static str,
    /// JSON Schema of its input, JSON text.
    pub input: &'static str,
    /// JSON Schema of its output, JSON text.
    pub output: &'static str,
    /// Units of what comes out.
    pub units: &'static str,
    /// How it computes.
    pub method: &'static str,
    /// Where the method is described.
    pub source: &'static str,
}

/// The built-ins, by name.
pub const BUILTINS: &[BuiltinDoc] = &[
    BuiltinDoc {
        name: "accuracy",
        description: "How far a forecast was from what came: MAE, RMSE, bias, WAPE, MAPE, MASE.",
        input: include_str!("tool/schema/accuracy.input.json"),
        output: include_str!("tool/schema/accuracy.output.json"),
        units: "mae, rmse and bias in the unit of the values; wape, mape and mase are ratios",
        method: "Means of errors; MASE scaled by the (seasonal) naive method within `history`",
        source: "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.8; Hyndman & Koehler 2006",
    },
    BuiltinDoc {
        name: "correlation",
        description: "Pearson's correlation of two lists of numbers.",
        input: include_str!("tool/schema/pairs.input.json"),
        output: include_str!("tool/schema/correlation.output.json"),
        units: "r has none, -1 to 1",
        method: "Sum of products about the means over the root of the sums of squares",
        source: "Pearson 1895",
    },
    BuiltinDoc {
        name: "describe",
        description: "Count, sum, mean, standard deviation, extremes and quantiles of a list of numbers.",
        input: include_str!("tool/schema/describe.input.json"),
        output: include_str!("tool/schema/describe.output.json"),
        units: "the unit of the values",
        method: "Standard deviation of the sample (n - 1); quantiles of type 7",
        source: "Hyndman & Fan 1996, Sample Quantiles in Statistical Packages",
    },
    BuiltinDoc {
        name: "forecast",
        description: "The next values of an evenly spaced series, with intervals and a backtest.",
        input: include_str!("tool/schema/forecast.input.json"),
        output: include_str!("tool/schema/forecast.output.json"),
        units: "units, lower, upper and total in the unit of the series; wape, mase and promotion_uplift are ratios",
        method: "mstl: decomposition by loess, trend carried on by ETS; ets: \
                 exponential smoothing chosen by AICc on the seasonally adjusted series; baselines: \
                 seasonal_naive, naive, drift, mean; auto: the one with the smallest error on the held-back end of the series",
        source: "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., ch. 5 and 8; Bandara, Hyndman & \
                 Bergmeir 2021 (MSTL, arXiv:2107.13462)",
    },
    BuiltinDoc {
        name: "linear_regression",
        description: "The straight line through two lists of numbers by least squares.",
        input: include_str!("tool/schema/pairs.input.json"),
        output: include_str!("tool/schema/linear_regression.output.json"),
        units: "slope in units of y per unit of x, intercept in units of y, r2 a ratio",
        method: "Ordinary least squares",
        source: "Draper & Smith 1998, Applied Regression Analysis, 3rd ed., ch. 1",
    },
];

/// The answer of a built-in; `None` where there is none of that name. The error says in words which field is wrong.
pub fn builtin(name: &str, input: &Value) -> Option<Result<Value, String>> {
    match name {
        "accuracy" => Some(statistics::accuracy(input)),
        "correlation" => Some(statistics::correlation(input)),
        "describe" => Some(statistics::describe(input)),
        "forecast" => Some(forecast::forecast(input)),
        "linear_regression" => Some(statistics::linear_regression(input)),
        _ => None,
    }
}

/// The built-ins as a port for the machines.
#[derive(Debug)]
pub struct BuiltinTools;

impl Builtins for BuiltinTools {
    fn call(&self, name: &str, input: &Value) -> Result<Value, String> {
        builtin(name, input).unwrap_or_else(|| {
            let known: Vec<&str> = BUILTINS.iter().map(|b| b.name).collect();
            Err(format!("there is no built-in `{name}`; known: {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_may_use_each_built_in_and_no_other() {
        let load = |name: &str| {
            let text = format!(
                "name: a\ntools: {{t: {{kind: builtin, use: {name}}}}}\nagents: {{x: {{kind: rules, handles: [user]}}}}\n"
            );
            let faults = commedia_domain::scenario::load("a.yaml", text.as_bytes(), &commedia_domain::scenario::NoFiles).err();
            faults.unwrap_or_default().iter().map(ToString::to_string).collect::<String>()
        };
        for b in BUILTINS {
            assert_eq!(load(b.name), "");
        }
        assert!(load("oracle").contains("there is no built-in tool `oracle`"), "{}", load("oracle"));
    }

    /// The rows of a schema's properties: name, type, meaning.
    fn fields(schema: &str) -> String {
        let schema: serde_json::Value = serde_json::from_str(schema).expect("the schema is JSON");
        let required = |name: &str| schema["required"].as_array().is_some_and(|r| r.iter().any(|f| f == name));
        let row = |(name, field): (&String, &serde_json::Value)| {
            let text = |at: &str| field[at].as_str().unwrap_or_default().to_owned();
            let kind = match &field["type"] {
                serde_json::Value::Array(kinds) => kinds.iter().filter_map(|k| k.as_str()).collect::<Vec<_>>().join(" or "),
                _ => text("type"),
            };
            let choice = field["enum"].as_array().map(|e| e.iter().filter_map(|w| w.as_str()).collect::<Vec<_>>().join(" "));
            let default = match &field["default"] {
                serde_json::Value::Null => String::new(),
                default => format!(" Default `{}`.", default.to_string().trim_matches('"')),
            };
            let range = match (&field["minimum"], &field["maximum"]) {
                (serde_json::Value::Null, _) | (_, serde_json::Value::Null) => String::new(),
                (low, high) => format!(" {low} to {high}."),
            };
            let meaning = [text("description"), choice.map(|c| format!("`{c}`")).unwrap_or_default()].join(" ");
            let need = if required(name) { "" } else { ", optional" };
            format!("| `{name}` | {kind}{need} | {} |\n", format!("{meaning}{range}{default}").trim())
        };
        let rows: String = schema["properties"].as_object().expect("an object").iter().map(row).collect();
        format!("| Field | Type | Meaning |\n|---|---|---|\n{rows}")
    }

    #[test]
    fn the_page_of_the_built_in_tools_is_up_to_date() {
        let mut page = "# Built-in tools\n\nPure functions: the same input gives the same output on any machine. In a scenario: \
                        `tools: {next_weeks: {kind: builtin, use: forecast}}`.\nA test compares this page with the code.\n"
            .to_owned();
        for b in BUILTINS {
            page += &format!("\n## `{}`\n\n{}\n\n", b.name, b.description);
            page += &format!("- **Units**: {}.\n- **Method**: {}.\n- **Source**: {}.\n", b.units, b.method, b.source);
            page += &format!("\nInput:\n\n{}\nOutput:\n\n{}", fields(b.input), fields(b.output));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tools.md");
        if std::env::var_os("COMMEDIA_BLESS").is_some() {
            std::fs::write(path, &page).expect("docs/ can be written");
        }
        let written = std::fs::read_to_string(path).expect("docs/tools.md is there");
        assert!(written == page, "docs/tools.md differs: write it anew with COMMEDIA_BLESS=1 cargo test -p commedia-actors page");
    }

    #[test]
    fn every_documented_tool_answers_in_its_own_schema() {
        let rows = [
            ("accuracy", r#"{"actual": [1, 2], "forecast": [1, 3]}"#),
            ("correlation", r#"{"x": [1, 2], "y": [1, 3]}"#),
            ("describe", r#"{"values": [1, 2]}"#),
            ("forecast", r#"{"series": [3, 4, 5, 3, 4, 5, 3, 4, 5, 3, 4, 5, 3, 4, 5, 3], "horizon": 3, "season_length": 3}"#),
            ("linear_regression", r#"{"x": [1, 2], "y": [1, 3]}"#),
        ];
        assert_eq!(rows.map(|r| r.0).as_slice(), BUILTINS.iter().map(|b| b.name).collect::<Vec<_>>());
        for (doc, (name, input)) in BUILTINS.iter().zip(rows) {
            let json: serde_json::Value = serde_json::from_str(input).expect("the row is JSON");
            let valid = |schema: &str, value: &serde_json::Value| {
                let schema = serde_json::from_str(schema).expect("the schema is JSON");
                jsonschema::validator_for(&schema).expect("the schema compiles").validate(value).map_err(|e| e.to_string())
            };
            assert_eq!(valid(doc.input, &json), Ok(()), "{name}: input");
            let output = builtin(name, &Value::from_json(&json)).expect("it is there").expect("it answers");
            assert_eq!(valid(doc.output, &output.to_json()), Ok(()), "{name}: output {}", output.to_json());
        }
        assert!(builtin("oracle", &Value::Null).is_none());
    }
}
