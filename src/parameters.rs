//! Parameters as people write them: `--set name=value` and files of values. Whether a value fits is the domain's to say.

use commedia_domain::scenario::{Parameter, Scenario, read_data};
use commedia_domain::value::Value;
use serde_json::Value as Json;

use crate::failure::Failure;

/// `name=value`, split at the first `=`.
pub fn split(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write it as name=value".into()),
    }
}

/// A value as its parameter's schema reads it: where text is allowed the words as they are, else a YAML value.
/// `null` is nothing wherever the schema allows nothing.
pub fn typed(scenario: &Scenario, name: &str, text: &str) -> Result<Value, Failure> {
    let Some(parameter) = scenario.parameters.iter().find(|p| *p.name == *name) else {
        // The domain names the parameters there are.
        return Ok(Value::text(text));
    };
    let yaml = || {
        let unreadable = || Failure::invalid(format!("`--set {name}={text}` cannot be read as YAML")).help("quote the value");
        read_data("--set", text.as_bytes()).map_err(|_| unreadable())
    };
    let allowed = Allowed::of(parameter);
    if allowed.text {
        let nothing = allowed.null && yaml().is_ok_and(|v| v.is_null());
        return Ok(if nothing { Value::Null } else { Value::text(text) });
    }
    Ok(Value::from_json(&yaml()?))
}

struct Allowed {
    text: bool,
    null: bool,
}

impl Allowed {
    /// By `type`, else by what `enum` lists; a schema that says neither takes YAML.
    fn of(parameter: &Parameter) -> Allowed {
        let schema = &parameter.schema.json;
        let names = |wanted: &str| match &schema["type"] {
            Json::String(name) => name == wanted,
            Json::Array(names) => names.iter().any(|n| n == wanted),
            _ => false,
        };
        let options = schema["enum"].as_array().map_or(&[][..], Vec::as_slice);
        Allowed {
            text: names("string") || (schema["type"].is_null() && options.iter().any(Json::is_string)),
            null: names("null") || options.iter().any(Json::is_null),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commedia_domain::scenario::{NoFiles, load};

    #[test]
    fn a_value_is_read_as_its_schema_says() {
        let source = "name: s\nparameters:\n  weeks: {type: integer, default: 1}\n  share: {type: number, default: 0.5}\n  plan: {type: string, default: x}\n  \
                      note: {type: [string, \"null\"], default: null}\n  week: {type: [integer, \"null\"], default: null}\n  on: {type: boolean, default: true}\n  \
                      list: {type: array, default: []}\nagents: {a: {kind: rules, rules: []}}\n";
        let loaded = load("s.yaml", source.as_bytes(), &NoFiles).map_err(|d| d[0].to_string()).expect("a scenario");
        let check = |name: &str, text: &str, expect: Value| {
            let found = typed(&loaded.scenario, name, text).expect("a value");
            assert!(found == expect && found.kind() == expect.kind(), "{name}={text}: {found:?}");
        };
        check("weeks", "12", Value::Int(12));
        check("weeks", "twelve", Value::text("twelve"));
        check("share", "0.3", Value::Double(0.3));
        check("share", "1", Value::Int(1));
        check("plan", "12", Value::text("12"));
        check("plan", "null", Value::text("null"));
        check("plan", "a: b, c", Value::text("a: b, c"));
        check("note", "null", Value::Null);
        check("note", "", Value::Null);
        check("note", "nullable", Value::text("nullable"));
        check("week", "null", Value::Null);
        check("week", "5", Value::Int(5));
        check("on", "false", Value::Bool(false));
        check("list", "[1, a]", Value::list([Value::Int(1), Value::text("a")]));
        check("unknown", "7", Value::text("7"));
        assert!(typed(&loaded.scenario, "list", "[1").is_err());
    }

    #[test]
    fn a_pair_is_split_at_its_first_sign() {
        assert_eq!(split("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(split(" a ="), Ok(("a".into(), String::new())));
        assert!(split("a").is_err() && split("=b").is_err());
    }
}
