//! Rows for `forecast`: answers, methods, faults; a property that no input makes it panic.

use commedia_domain::value::Value;
use proptest::prelude::*;
use serde_json::json;

use super::{forecast, normal_quantile};

fn ask(input: serde_json::Value) -> Result<serde_json::Value, String> {
    forecast(&Value::from_json(&input)).map(|v| v.to_json())
}

/// Three seasons of twelve: a wave on a rising base.
fn seasons() -> Vec<f64> {
    let wave = [1.0, 1.1, 1.3, 1.5, 1.4, 1.2, 1.0, 0.8, 0.7, 0.6, 0.7, 0.9];
    (0..36).map(|t| (100.0 + f64::from(t)) * wave[t as usize % 12]).collect()
}

#[test]
fn baselines_answer() {
    let check = |input, units: serde_json::Value| assert_eq!(ask(input).map(|o| o["units"].clone()), Ok(units));
    let y = json!([10, 12, 11, 13]);
    check(json!({"series": y, "horizon": 2, "method": "naive"}), json!([13.0, 13.0]));
    check(json!({"series": y, "horizon": 2, "method": "drift", "integers": true}), json!([14, 15]));
    check(json!({"series": y, "horizon": 2, "method": "mean", "integers": true}), json!([12, 12]));
    check(json!({"series": y, "horizon": 3, "method": "seasonal_naive", "season_length": 2}), json!([11.0, 13.0, 11.0]));
    check(json!({"series": [{"units": 4}, {"units": 5}], "horizon": 1, "method": "naive", "integers": true}), json!([5]));
    check(json!({"series": [{"sold": 4}], "field": "sold", "horizon": 1}), json!([4.0]));
    check(json!({"series": [0, 0, 1, 0], "horizon": 1, "method": "drift"}), json!([0.0]));
}

#[test]
fn a_rising_season_is_carried_on() {
    let held_back: Vec<f64> =
        (36..48).map(|t| (100.0 + f64::from(t)) * seasons()[t as usize % 12] / f64::from(100 + t % 12)).collect();
    for (method, most) in [("auto", 0.01), ("mstl", 0.01), ("ets", 0.02)] {
        let output = ask(json!({"series": seasons(), "horizon": 12, "season_length": 12, "method": method})).expect("it answers");
        let units: Vec<f64> = output["units"].as_array().expect("a list").iter().filter_map(serde_json::Value::as_f64).collect();
        let error = units.iter().zip(&held_back).map(|(f, a)| (f - a).abs()).sum::<f64>() / held_back.iter().sum::<f64>();
        assert!(error < most, "{method}: wape {error}, {output}");
        for step in 0..12 {
            let at = |name: &str| output[name][step].as_f64().expect("a number");
            assert!(at("lower") <= at("units") && at("units") <= at("upper"), "{method}: {output}");
        }
    }
}

#[test]
fn promotions_are_taken_out_and_put_back() {
    let mut y = vec![100.0; 30];
    let mut p = vec![0.0; 30];
    for t in [5, 14, 29] {
        y[t] = 140.0;
        p[t] = 1.0;
    }
    let input =
        json!({"series": y, "promotions": p, "promotions_ahead": [0, 1], "horizon": 3, "season_length": 1, "integers": true});
    let output = ask(input).expect("it answers");
    assert_eq!(output["units"], json!([100, 140, 100]));
    assert_eq!(output["promotion_uplift"], json!(1.4));
}

#[test]
fn faults_are_told() {
    let check = |input, part: &str| {
        let answer = ask(input);
        assert!(answer.as_ref().is_err_and(|e| e.contains(part)), "{answer:?} does not say `{part}`");
    };
    check(json!([]), "must be a map");
    check(json!({"horizon": 3}), "`series` is missing");
    check(json!({"series": [1]}), "`horizon` is missing");
    check(json!({"series": [], "horizon": 3}), "`series` is empty");
    check(json!({"series": [1, null], "horizon": 3}), "`series[1]` is null, not a number");
    check(json!({"series": [1, 1e13], "horizon": 3}), "`series[1]` is");
    check(json!({"series": [1], "horizon": 521}), "`horizon` is 521; it must be 1 to 520");
    check(json!({"series": [1], "horizon": 0}), "it must be 1 to 520");
    check(json!({"series": [1], "horizon": 1.5}), "`horizon` must be a whole number");
    check(json!({"series": [1], "horizon": 1, "season": 4}), "unknown field `season`; known: series");
    check(json!({"series": [1], "horizon": 1, "method": "arima"}), "unknown `method` `arima`; known: auto, mstl");
    check(json!({"series": [1, 2, 3], "horizon": 1, "method": "mstl"}), "`mstl` needs at least 104 values");
    check(json!({"series": [1, 2, 3], "horizon": 1, "method": "mstl", "season_length": 1}), "needs a `season_length` of 2");
    check(json!({"series": [1], "horizon": 1, "level": 1}), "`level` must be");
    check(json!({"series": [1, 2], "horizon": 1, "promotions": [1]}), "`promotions` has 1 numbers, `series` has 2");
    check(json!({"series": [1, 0], "horizon": 1, "promotions": [1, 0]}), "must be above 0");
    check(json!({"series": [1], "horizon": 1, "promotions_ahead": [1]}), "needs `promotions`");
    check(json!({"series": vec![1; 10_001], "horizon": 1}), "at most 10000 are taken");
    let nan = Value::object([("series", Value::list([Value::Double(f64::NAN)])), ("horizon", Value::Int(1))]);
    assert!(forecast(&nan).is_err_and(|e| e.contains("values lie within")));
}

#[test]
fn quantiles_of_the_normal_distribution() {
    for (p, expect) in [(0.975, 1.95996), (0.5, 0.0), (0.025, -1.95996), (0.995, 2.57583)] {
        assert!((normal_quantile(p) - expect).abs() < 5e-4, "{p}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever the numbers are, the answer has `horizon` ordered finite steps, or an error says why; asked twice, it is the same.
    #[test]
    fn any_series_is_answered(
        y in prop::collection::vec(prop_oneof![-1e3..1e3f64, Just(0.0), Just(1e12), 0.0..1e-9], 1..60),
        horizon in 1..30usize,
        season in 1..14usize,
        method in prop::sample::select(vec!["auto", "mstl", "ets", "seasonal_naive", "naive", "drift", "mean"]),
    ) {
        let input = json!({"series": y, "horizon": horizon, "season_length": season, "method": method});
        let answer = ask(input.clone());
        prop_assert_eq!(&answer, &ask(input));
        match answer {
            Ok(output) => for step in 0..horizon {
                let at = |name: &str| output[name][step].as_f64();
                prop_assert!(at("lower") <= at("units") && at("units") <= at("upper") && at("lower").is_some(), "{}", output);
            },
            Err(why) => prop_assert!(method != "auto", "{}", why),
        }
    }
}
