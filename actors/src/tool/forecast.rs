//! `forecast`: the next values of a series with intervals. A pure function: the same input gives the same output on any
//! machine (rounded to whole units or six digits), no threads, no randomness, never a panic.
//! Sources: Hyndman & Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed. (<https://otexts.com/fpp3>): ETS ch. 8,
//! baselines §5.2, accuracy §5.8; MSTL: Bandara, Hyndman & Bergmeir 2021 (<https://arxiv.org/abs/2107.13462>);
//! MASE: Hyndman & Koehler 2006 (<https://doi.org/10.1016/j.ijforecast.2006.03.001>).

mod baselines;
mod promotions;
mod smoothing;

use commedia_domain::value::Value;

use self::baselines::Path;
pub(super) use self::baselines::to_f64;
use super::numbers::{known_fields, series, six_digits, text, truth, whole};

/// Longest horizon, steps.
pub const LONGEST_HORIZON: i64 = 520;

/// Fewest values in a stretch of a backtest, where the series has them.
const SHORTEST_BACKTEST: usize = 12;

/// Most stretches of a backtest.
const MOST_STRETCHES: usize = 4;

const FIELDS: [&str; 10] =
    ["series", "field", "horizon", "season_length", "method", "level", "integers", "promotions", "promotions_ahead", "backtest"];

/// A method, in the order in which `auto` prefers them where they are equally good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Mstl,
    Ets,
    SeasonalNaive,
    Drift,
    Mean,
    Naive,
}

impl Method {
    const ALL: [Method; 6] = [Method::Mstl, Method::Ets, Method::SeasonalNaive, Method::Drift, Method::Mean, Method::Naive];

    fn name(self) -> &'static str {
        match self {
            Method::Mstl => "mstl",
            Method::Ets => "ets",
            Method::SeasonalNaive => "seasonal_naive",
            Method::Drift => "drift",
            Method::Mean => "mean",
            Method::Naive => "naive",
        }
    }

    /// Fewest values it can be fitted to.
    fn least(self, season: usize) -> usize {
        match self {
            Method::Mstl => (2 * season).max(12),
            Method::Ets => 12,
            Method::SeasonalNaive => season,
            Method::Drift => 2,
            Method::Mean | Method::Naive => 1,
        }
    }

    /// Whether it makes sense for a season of this length.
    fn fits_season(self, season: usize) -> bool {
        season > 1 || !matches!(self, Method::Mstl | Method::SeasonalNaive)
    }

    fn forecast(self, y: &[f64], ask: &Ask) -> Result<Path, String> {
        let (h, m) = (ask.horizon, ask.season);
        if !self.fits_season(m) {
            return Err(format!("`{}` needs a `season_length` of 2 or more", self.name()));
        }
        if y.len() < self.least(m) {
            let least = self.least(m);
            return Err(format!("`{}` needs at least {least} values for a season of {m}; `series` has {}", self.name(), y.len()));
        }
        if matches!(self, Method::Mstl | Method::Ets) && y.iter().all(|v| *v == y[0]) {
            return Ok(Path::certain(y[0], h));
        }
        match self {
            Method::Mstl => smoothing::mstl(y, h, m, ask.level),
            Method::Ets => smoothing::ets(y, h, m, ask.level),
            Method::SeasonalNaive => Ok(baselines::seasonal_naive(y, h, m, ask.z)),
            Method::Drift => Ok(baselines::drift(y, h, ask.z)),
            Method::Mean => Ok(baselines::mean(y, h, ask.z)),
            Method::Naive => Ok(baselines::naive(y, h, ask.z)),
        }
        .map_err(|e| format!("`{}`: {e}", self.name()))
    }
}

/// What is asked, checked.
#[derive(Clone)]
struct Ask {
    horizon: usize,
    season: usize,
    level: f64,
    /// The normal quantile of the interval.
    z: f64,
}

/// How the methods did on stretches they had not seen.
struct Backtest {
    /// Values forecast in it.
    n: usize,
    /// Mean absolute error by method, those that could be fitted, in order of preference.
    errors: Vec<(Method, f64)>,
    /// Mean absolute value of what was to be forecast.
    size: f64,
    /// Mean absolute error of the (seasonal) naive method before the last stretch: the scale of MASE.
    scale: f64,
}

/// The next `horizon` values of `series`.
///
/// Input: `series` (numbers, or records with `field`, default `units`; oldest first, evenly spaced), `horizon` (1–520 steps),
/// `season_length` (steps, default 52), `method` (`auto ets mstl seasonal_naive naive drift mean`, default `auto`), `level` of the
/// intervals (default 0.95), `integers` (whole units), `promotions` (one number per value: how much of a promotion there was),
/// `promotions_ahead` (one per step of the horizon), `backtest` (default true; false spares a named method its backtest).
///
/// Output, in the unit of the series: `units`, `lower`, `upper` (one per step), `total` (sum of `units`), `method` (the one
/// used), `level`, `promotion_uplift` (factor of one unit of promotion) and `backtest {n, wape, mase, by_method}` over `n` values that
/// the method had not seen, null where the series is too short for one. `auto` takes the method with the smallest error there.
///
/// # Errors
/// In words, naming the field: a missing or misspelt field, a value that is no finite number, a series too short for the method.
pub fn forecast(input: &Value) -> Result<Value, String> {
    known_fields(input, &FIELDS)?;
    let y = series(input, "series", text(input, "field", "units")?)?;
    let horizon = index(whole(input, "horizon", None, 1, LONGEST_HORIZON)?);
    let season = index(whole(input, "season_length", Some(52), 1, LONGEST_HORIZON)?);
    let level = level(input)?;
    let ask = Ask { horizon, season, level, z: normal_quantile(0.5 + level / 2.0) };
    let integers = truth(input, "integers", false)?;
    let tested = truth(input, "backtest", true)?;
    if y.is_empty() {
        return Err("`series` is empty".to_owned());
    }
    let promotions = promotions_of(input, &y, horizon)?;
    let clean = match &promotions {
        Some(p) => y.iter().zip(&p.seen).map(|(v, seen)| v / promotions::factor(p.effect, *seen)).collect(),
        None => y.clone(),
    };
    let (method, mut path, backtest) = match text(input, "method", "auto")? {
        "auto" => {
            let backtest = backtest(&clean, &ask, &Method::ALL);
            let (method, path) = choose(&clean, &ask, backtest.as_ref())?;
            (method, path, backtest)
        }
        name => {
            let method = Method::ALL.into_iter().find(|m| m.name() == name).ok_or_else(|| unknown_method(name))?;
            let backtest = if tested { backtest(&clean, &ask, &[method]) } else { None };
            (method, method.forecast(&clean, &ask)?, backtest)
        }
    };
    for (step, ahead) in promotions.iter().flat_map(|p| &p.ahead).enumerate() {
        let factor = promotions::factor(promotions.as_ref().map_or(0.0, |p| p.effect), *ahead);
        path.points[step] *= factor;
        path.lower[step] *= factor;
        path.upper[step] *= factor;
    }
    if y.iter().all(|v| *v >= 0.0) {
        for v in path.points.iter_mut().chain(&mut path.lower).chain(&mut path.upper) {
            *v = v.max(0.0);
        }
    }
    let uplift = promotions.map_or(Value::Null, |p| Value::Double(six_digits(promotions::factor(p.effect, 1.0))));
    Ok(answer(method, &path, &ask, integers, uplift, backtest.as_ref()))
}

fn unknown_method(name: &str) -> String {
    let known: Vec<&str> = Method::ALL.iter().map(|m| m.name()).collect();
    format!("unknown `method` `{name}`; known: auto, {}", known.join(", "))
}

#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "checked to lie within 1 to 520")]
fn index(n: i64) -> usize {
    n as usize
}

fn level(input: &Value) -> Result<f64, String> {
    match input.get("level") {
        None | Some(Value::Null) => Ok(0.95),
        Some(value) => match value.as_f64() {
            Some(l) if (0.01..=0.999).contains(&l) => Ok(l),
            _ => Err("`level` must be a number from 0.01 to 0.999, such as 0.95".to_owned()),
        },
    }
}

/// Promotions in the series and ahead, with what one unit of promotion does to the logarithm of the values.
struct Promotions {
    effect: f64,
    seen: Vec<f64>,
    ahead: Vec<f64>,
}

fn promotions_of(input: &Value, y: &[f64], horizon: usize) -> Result<Option<Promotions>, String> {
    let given = |name| !matches!(input.get(name), None | Some(Value::Null));
    if !given("promotions") {
        return if given("promotions_ahead") {
            Err("`promotions_ahead` needs `promotions`, one number per value of `series`".to_owned())
        } else {
            Ok(None)
        };
    }
    let seen = series(input, "promotions", "promotion")?;
    if seen.len() != y.len() {
        return Err(format!("`promotions` has {} numbers, `series` has {}", seen.len(), y.len()));
    }
    let ahead = if given("promotions_ahead") { series(input, "promotions_ahead", "promotion")? } else { Vec::new() };
    if ahead.len() > horizon {
        return Err(format!("`promotions_ahead` has {} numbers, the horizon is {horizon}", ahead.len()));
    }
    if y.iter().any(|v| *v <= 0.0) {
        return Err("with `promotions` every value of `series` must be above 0".to_owned());
    }
    if seen.iter().chain(&ahead).any(|p| !(0.0..=10.0).contains(p)) {
        return Err("`promotions` and `promotions_ahead` lie between 0 and 10".to_owned());
    }
    Ok(Some(Promotions { effect: promotions::effect(y, &seen), seen, ahead }))
}

/// Forecasts the end of the series from what was before it, by a rolling origin (FPP3 §5.10): up to four stretches side by side,
/// each as long as the horizon, but at least 12 values; all within the part that leaves two seasons, or else in the last quarter.
fn backtest(y: &[f64], ask: &Ask, methods: &[Method]) -> Option<Backtest> {
    let seasons = 2 * ask.season + SHORTEST_BACKTEST;
    let most = if y.len() >= seasons { y.len() - 2 * ask.season } else { y.len() / 4 };
    let length = ask.horizon.max(SHORTEST_BACKTEST).min(most);
    if length < 2 {
        return None;
    }
    let stretches = (most / length).min(MOST_STRETCHES);
    let n = length * stretches;
    let ask = Ask { horizon: length, ..ask.clone() };
    let error = |method: Method| -> Option<(Method, f64)> {
        let mut sum = 0.0;
        for stretch in 1..=stretches {
            let (seen, rest) = y.split_at(y.len() - stretch * length);
            let path = method.forecast(seen, &ask).ok()?;
            sum += rest.iter().zip(&path.points).map(|(a, f)| (a - f).abs()).sum::<f64>();
        }
        Some((method, sum / to_f64(n)))
    };
    let seen = &y[..y.len() - length];
    let lag = if seen.len() > ask.season { ask.season } else { 1 };
    let steps = seen.iter().skip(lag).zip(seen).map(|(now, then)| (now - then).abs());
    let scale = steps.sum::<f64>() / to_f64((seen.len() - lag).max(1));
    let size = y[y.len() - n..].iter().map(|v| v.abs()).sum::<f64>() / to_f64(n);
    Some(Backtest { n, errors: methods.iter().filter_map(|m| error(*m)).collect(), size, scale })
}

/// The method with the smallest error in the backtest that can be fitted to the whole series; the naive one without a backtest.
/// A series of two seasons and hardly more has no backtest of `mstl`, which is then taken unseen.
fn choose(y: &[f64], ask: &Ask, backtest: Option<&Backtest>) -> Result<(Method, Path), String> {
    let mut ranked = backtest.map_or_else(Vec::new, |b| b.errors.clone());
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    let unseen = (ranked.iter().all(|r| r.0 != Method::Mstl)).then_some(Method::Mstl);
    for method in unseen.into_iter().chain(ranked.into_iter().map(|r| r.0)) {
        if let Ok(path) = method.forecast(y, ask) {
            return Ok((method, path));
        }
    }
    Method::Naive.forecast(y, ask).map(|path| (Method::Naive, path))
}

fn answer(method: Method, path: &Path, ask: &Ask, integers: bool, uplift: Value, backtest: Option<&Backtest>) -> Value {
    let list = |values: &[f64], round: fn(f64) -> f64| Value::list(values.iter().map(|v| unit(round(*v), integers)));
    let half_up = |v: f64| (v + 0.5).floor();
    let as_is = |v: f64| v;
    let (units, lower, upper) = if integers {
        (list(&path.points, half_up), list(&path.lower, f64::floor), list(&path.upper, f64::ceil))
    } else {
        (list(&path.points, as_is), list(&path.lower, as_is), list(&path.upper, as_is))
    };
    let total = path.points.iter().map(|v| if integers { half_up(*v) } else { *v }).sum::<f64>();
    Value::object([
        ("method", Value::text(method.name())),
        ("level", Value::Double(ask.level)),
        ("units", units),
        ("lower", lower),
        ("upper", upper),
        ("total", unit(total, integers)),
        ("promotion_uplift", uplift),
        ("backtest", backtest.map_or(Value::Null, |b| report(b, method))),
    ])
}

/// A whole unit, or six digits.
#[expect(clippy::cast_possible_truncation, reason = "guarded: models' values stay below 1e15, sums below 1e18")]
fn unit(v: f64, integers: bool) -> Value {
    if integers && v.abs() < 9e18 { Value::Int(v as i64) } else { Value::Double(six_digits(v)) }
}

fn report(backtest: &Backtest, method: Method) -> Value {
    let ratio = |error: f64, to: f64| if to > 0.0 { Value::Double(six_digits(error / to)) } else { Value::Null };
    let own = backtest.errors.iter().find(|(m, _)| *m == method).map(|(_, e)| *e);
    Value::object([
        ("n", Value::Int(i64::try_from(backtest.n).unwrap_or(i64::MAX))),
        ("wape", own.map_or(Value::Null, |e| ratio(e, backtest.size))),
        ("mase", own.map_or(Value::Null, |e| ratio(e, backtest.scale))),
        ("by_method", Value::object(backtest.errors.iter().map(|(m, e)| (m.name(), ratio(*e, backtest.size))))),
    ])
}

/// The quantile of the standard normal distribution, p within (0, 1); absolute error below 4.5e-4.
/// Source: Abramowitz & Stegun, "Handbook of Mathematical Functions", 26.2.23.
fn normal_quantile(p: f64) -> f64 {
    let upper_tail = |q: f64| {
        let t = (-2.0 * libm::log(q)).sqrt();
        t - (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
    };
    if p < 0.5 { -upper_tail(p) } else { upper_tail(1.0 - p) }
}

#[cfg(test)]
mod tests;
