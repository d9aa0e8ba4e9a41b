//! Statistics over lists of numbers: `describe`, `accuracy`, `correlation`, `linear_regression`. Pure functions in plain
//! IEEE arithmetic, summed in the order given, so they answer alike on any machine. Never a panic.

use commedia_domain::value::Value;

use super::forecast::to_f64;
use super::numbers::{known_fields, series, text, whole};

/// Count, mean, spread and quantiles of `values` (numbers, or records with `field`, default `value`), in the unit of the values.
///
/// `sd` is that of the sample, √(Σ(x − mean)² / (n − 1)), null below two values. `p25 p50 p75 p95` interpolate linearly at
/// (n − 1)p: type 7 of Hyndman & Fan 1996, "Sample Quantiles in Statistical Packages".
///
/// # Errors
/// Where there is no value, or one that is no finite number.
pub fn describe(input: &Value) -> Result<Value, String> {
    known_fields(input, &["values", "field"])?;
    let mut values = series(input, "values", text(input, "field", "value")?)?;
    if values.is_empty() {
        return Err("`values` is empty".to_owned());
    }
    let (n, sum) = (to_f64(values.len()), values.iter().sum::<f64>());
    let mean = sum / n;
    let squares = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
    values.sort_by(f64::total_cmp);
    let quantile = |p: f64| Value::Double(quantile(&values, p));
    Ok(Value::object([
        ("n", count(values.len())),
        ("sum", Value::Double(sum)),
        ("mean", Value::Double(mean)),
        ("sd", if values.len() > 1 { Value::Double((squares / (n - 1.0)).sqrt()) } else { Value::Null }),
        ("min", quantile(0.0)),
        ("p25", quantile(0.25)),
        ("p50", quantile(0.5)),
        ("p75", quantile(0.75)),
        ("p95", quantile(0.95)),
        ("max", quantile(1.0)),
    ]))
}

/// How far `forecast` was from `actual` (two lists of the same length), by the measures of Hyndman & Athanasopoulos, "Forecasting:
/// Principles and Practice", 3rd ed., §5.8.
///
/// In the unit of the values: `mae` mean |a − f|, `rmse` √mean (a − f)², `bias` mean (f − a): above 0 is forecast too high.
/// Ratios: `wape` Σ|a − f| / Σ|a|, `mape` mean |a − f| / |a| over the values that are not 0, `mase` the MAE over that of the (seasonal)
/// naive method within `history` (Hyndman & Koehler 2006), `season_length` 1 unless given. A ratio to 0, and `mase` without
/// `history`, is null.
///
/// # Errors
/// Where the lists differ in length or are empty, or a value is no finite number.
pub fn accuracy(input: &Value) -> Result<Value, String> {
    known_fields(input, &["actual", "forecast", "history", "season_length", "field"])?;
    let field = text(input, "field", "units")?;
    let (actual, forecast) = pairs(input, "actual", "forecast", field)?;
    let n = to_f64(actual.len());
    let errors: Vec<f64> = forecast.iter().zip(&actual).map(|(f, a)| f - a).collect();
    let absolute = errors.iter().map(|e| e.abs()).sum::<f64>();
    let size = actual.iter().map(|a| a.abs()).sum::<f64>();
    let shares: Vec<f64> = errors.iter().zip(&actual).filter(|(_, a)| **a != 0.0).map(|(e, a)| (e / a).abs()).collect();
    let season = usize::try_from(whole(input, "season_length", Some(1), 1, 520)?).unwrap_or(1);
    let scale = match input.get("history") {
        None | Some(Value::Null) => 0.0,
        Some(_) => naive_error(&series(input, "history", field)?, season)?,
    };
    Ok(Value::object([
        ("n", count(actual.len())),
        ("mae", Value::Double(absolute / n)),
        ("rmse", Value::Double((errors.iter().map(|e| e * e).sum::<f64>() / n).sqrt())),
        ("bias", Value::Double(errors.iter().sum::<f64>() / n)),
        ("wape", ratio(absolute, size)),
        ("mape", ratio(shares.iter().sum::<f64>(), to_f64(shares.len()))),
        ("mase", ratio(absolute / n, scale)),
    ]))
}

/// Pearson's correlation of `x` and `y` (two lists of the same length): `{n, r}`, r from −1 to 1, null where one of them is constant.
///
/// # Errors
/// Where the lists differ in length or have fewer than two values, or a value is no finite number.
pub fn correlation(input: &Value) -> Result<Value, String> {
    known_fields(input, &["x", "y"])?;
    let m = Moments::of(input)?;
    let r = if m.xx > 0.0 && m.yy > 0.0 { Value::Double((m.xy / (m.xx * m.yy).sqrt()).clamp(-1.0, 1.0)) } else { Value::Null };
    Ok(Value::object([("n", count(m.n)), ("r", r)]))
}

/// The line through `x` and `y` by ordinary least squares: `{n, slope, intercept, r2}`; `slope` in units of y per unit of x; all null
/// where `x` is constant, `r2` (share of the variance explained) where `y` is.
///
/// # Errors
/// Where the lists differ in length or have fewer than two values, or a value is no finite number.
pub fn linear_regression(input: &Value) -> Result<Value, String> {
    known_fields(input, &["x", "y"])?;
    let m = Moments::of(input)?;
    let slope = (m.xx > 0.0).then(|| m.xy / m.xx);
    let double = |v: Option<f64>| v.map_or(Value::Null, Value::Double);
    Ok(Value::object([
        ("n", count(m.n)),
        ("slope", double(slope)),
        ("intercept", double(slope.map(|s| m.mean_y - s * m.mean_x))),
        ("r2", double(slope.filter(|_| m.yy > 0.0).map(|s| (s * m.xy / m.yy).clamp(0.0, 1.0)))),
    ]))
}

/// Sums of squares and products about the means.
struct Moments {
    n: usize,
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn of(input: &Value) -> Result<Moments, String> {
        let (x, y) = pairs(input, "x", "y", "value")?;
        if x.len() < 2 {
            return Err("`x` and `y` need at least two values".to_owned());
        }
        let n = to_f64(x.len());
        let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
        let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
        for (a, b) in x.iter().zip(&y) {
            let (a, b) = (a - mean_x, b - mean_y);
            xx += a * a;
            yy += b * b;
            xy += a * b;
        }
        Ok(Moments { n: x.len(), mean_x, mean_y, xx, yy, xy })
    }
}

fn pairs(input: &Value, one: &str, other: &str, field: &str) -> Result<(Vec<f64>, Vec<f64>), String> {
    let (a, b) = (series(input, one, field)?, series(input, other, field)?);
    if a.len() != b.len() {
        return Err(format!("`{one}` has {} values, `{other}` has {}", a.len(), b.len()));
    }
    if a.is_empty() {
        return Err(format!("`{one}` is empty"));
    }
    Ok((a, b))
}

fn naive_error(history: &[f64], season: usize) -> Result<f64, String> {
    if history.len() <= season {
        return Err(format!("`history` needs more than {season} values; it has {}", history.len()));
    }
    let steps = history.iter().skip(season).zip(history).map(|(now, then)| (now - then).abs());
    Ok(steps.sum::<f64>() / to_f64(history.len() - season))
}

fn ratio(part: f64, whole: f64) -> Value {
    if whole > 0.0 { Value::Double(part / whole) } else { Value::Null }
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Type 7 of Hyndman & Fan; `sorted` is not empty.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = to_f64(sorted.len() - 1) * p;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and the length")]
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tool: fn(&Value) -> Result<Value, String>, input: &str) -> String {
        let input = Value::from_json(&serde_json::from_str(input).expect("the row is JSON"));
        match tool(&input) {
            Ok(value) => value.to_json().to_string(),
            Err(why) => why,
        }
    }

    #[test]
    fn describes() {
        let check = |input: &str, expect: &str| assert_eq!(call(describe, input), expect);
        check(
            r#"{"values": [4, 1, 3, 2]}"#,
            r#"{"max":4.0,"mean":2.5,"min":1.0,"n":4,"p25":1.75,"p50":2.5,"p75":3.25,"p95":3.8499999999999996,"sd":1.2909944487358056,"sum":10.0}"#,
        );
        check(
            r#"{"values": [{"v": 7}], "field": "v"}"#,
            r#"{"max":7.0,"mean":7.0,"min":7.0,"n":1,"p25":7.0,"p50":7.0,"p75":7.0,"p95":7.0,"sd":null,"sum":7.0}"#,
        );
        check(r#"{"values": []}"#, "`values` is empty");
        check(r#"{"value": [1]}"#, "unknown field `value`; known: values, field");
        check(r#"{"values": [1, "2"]}"#, "`values[1]` is string, not a number");
        check(r#"{"values": [{"w": 7}], "field": "v"}"#, "`values[0]` has no field `v`");
        check(r#"{"values": 3}"#, "`values` must be a list of numbers, not int");
        check(r#"{"values": [2e12]}"#, "`values[0]` is 2000000000000; values lie within ±1e12");
        check("[1]", "the input must be a map, not list");
    }

    #[test]
    fn measures_accuracy() {
        let check = |input: &str, expect: &str| assert_eq!(call(accuracy, input), expect);
        check(
            r#"{"actual": [10, 20, 30], "forecast": [12, 18, 33], "history": [1, 2, 4, 8], "season_length": 2}"#,
            r#"{"bias":1.0,"mae":2.3333333333333335,"mape":0.13333333333333333,"mase":0.5185185185185186,"n":3,"rmse":2.3804761428476167,"wape":0.11666666666666667}"#,
        );
        check(
            r#"{"actual": [0], "forecast": [5]}"#,
            r#"{"bias":5.0,"mae":5.0,"mape":null,"mase":null,"n":1,"rmse":5.0,"wape":null}"#,
        );
        check(r#"{"actual": [1, 2], "forecast": [1]}"#, "`actual` has 2 values, `forecast` has 1");
        check(r#"{"actual": [1], "forecast": [1], "history": [1]}"#, "`history` needs more than 1 values; it has 1");
        check(r#"{"actual": [1]}"#, "`forecast` is missing: a list of numbers");
    }

    #[test]
    fn relates_two_lists() {
        let check = |tool, input: &str, expect: &str| assert_eq!(call(tool, input), expect);
        check(correlation, r#"{"x": [1, 2, 3], "y": [2, 4, 6]}"#, r#"{"n":3,"r":1.0}"#);
        check(correlation, r#"{"x": [1, 2, 3], "y": [3, 2, 1]}"#, r#"{"n":3,"r":-1.0}"#);
        check(correlation, r#"{"x": [1, 1], "y": [3, 2]}"#, r#"{"n":2,"r":null}"#);
        check(correlation, r#"{"x": [1], "y": [3]}"#, "`x` and `y` need at least two values");
        check(linear_regression, r#"{"x": [0, 1, 2], "y": [1, 3, 5]}"#, r#"{"intercept":1.0,"n":3,"r2":1.0,"slope":2.0}"#);
        check(linear_regression, r#"{"x": [2, 2], "y": [1, 3]}"#, r#"{"intercept":null,"n":2,"r2":null,"slope":null}"#);
        check(linear_regression, r#"{"x": [1, 2], "y": [3, 3]}"#, r#"{"intercept":3.0,"n":2,"r2":null,"slope":0.0}"#);
    }
}
