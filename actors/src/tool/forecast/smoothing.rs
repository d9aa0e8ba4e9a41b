//! Exponential smoothing and seasonal decomposition: the one home of augurs.
//! Only models with additive error are searched (on logarithms where all values are positive): those with multiplicative
//! error get their intervals from an unseeded simulation, which a run must never contain.

use std::panic::{AssertUnwindSafe, catch_unwind};

use augurs::ets::AutoETS;
use augurs::mstl::MSTLModel;
use augurs::{Fit, Forecast, Predict};

use super::baselines::{Path, to_f64};

/// ETS without a seasonal part, its trend (none, additive, damped) chosen by AICc; where two seasons are there, on the series
/// adjusted by the seasonal indices of a classical decomposition, which are put back afterwards (FPP3 §3.4 and §5.7).
pub(super) fn ets(y: &[f64], horizon: usize, season: usize, level: f64) -> Result<Path, String> {
    on_logarithms(y, |y| {
        let indices = if season > 1 && y.len() >= 2 * season { seasonal_indices(y, season) } else { vec![0.0] };
        let index = |t: usize| indices[t % indices.len()];
        let adjusted: Vec<f64> = y.iter().enumerate().map(|(t, v)| v - index(t)).collect();
        let mut forecast = guarded(|| {
            let model = AutoETS::new(1, "AZN").map_err(|e| e.to_string())?;
            predict(&model, &adjusted, horizon, level)
        })?;
        let bounds = forecast.intervals.iter_mut().flat_map(|i| [&mut i.lower, &mut i.upper]);
        for values in std::iter::once(&mut forecast.point).chain(bounds) {
            values.iter_mut().enumerate().for_each(|(h, v)| *v += index(y.len() + h));
        }
        Ok(forecast)
    })
}

/// Additive seasonal indices by place in the season, summing to 0: means of what is left of the values beside a centred
/// moving average over one season. Needs two seasons.
fn seasonal_indices(y: &[f64], season: usize) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); season];
    let half = season / 2;
    for t in half..y.len() - half {
        let window = &y[t - half..=t + half];
        let ends = if season.is_multiple_of(2) { (window[0] + window[season]) / 2.0 } else { window[0] };
        let rest = if season.is_multiple_of(2) { &window[1..season] } else { &window[1..] };
        let trend = (ends + rest.iter().sum::<f64>()) / to_f64(season);
        sums[t % season].0 += y[t] - trend;
        sums[t % season].1 += 1.0;
    }
    let means: Vec<f64> = sums.iter().map(|(sum, n)| if *n > 0.0 { sum / n } else { 0.0 }).collect();
    let centre = means.iter().sum::<f64>() / to_f64(season);
    means.iter().map(|v| v - centre).collect()
}

/// MSTL: seasonal and trend decomposition by loess; ETS carries the trend on, the last season repeats.
/// Needs two seasons.
pub(super) fn mstl(y: &[f64], horizon: usize, season: usize, level: f64) -> Result<Path, String> {
    on_logarithms(y, |y| {
        guarded(|| {
            let trend = AutoETS::new(1, "AZN").map_err(|e| e.to_string())?.into_trend_model();
            predict(&MSTLModel::new(vec![season], trend), y, horizon, level)
        })
    })
}

fn predict<M>(model: &M, y: &[f64], horizon: usize, level: f64) -> Result<Forecast, String>
where
    M: Fit,
    M::Fitted: Predict,
{
    let fitted = model.fit(y).map_err(|e| e.to_string())?;
    fitted.predict(horizon, level).map_err(|e| e.to_string())
}

/// A panic of the library is an answer like any other failure.
fn guarded(fit: impl FnOnce() -> Result<Forecast, String>) -> Result<Forecast, String> {
    catch_unwind(AssertUnwindSafe(fit)).unwrap_or_else(|_| Err("the model could not be fitted".to_owned()))
}

/// Fits on logarithms where every value is positive (seasons and growth then multiply, and the point is a median), else as is.
fn on_logarithms(y: &[f64], fit: impl FnOnce(&[f64]) -> Result<Forecast, String>) -> Result<Path, String> {
    if y.iter().all(|v| *v > 0.0) {
        let logs: Vec<f64> = y.iter().map(|v| libm::log(*v)).collect();
        path(fit(&logs)?, libm::exp)
    } else {
        path(fit(y)?, |v| v)
    }
}

fn path(forecast: Forecast, back: impl Fn(f64) -> f64) -> Result<Path, String> {
    let intervals = forecast.intervals.ok_or("the model gave no intervals")?;
    let scale = |values: Vec<f64>| -> Vec<f64> { values.into_iter().map(&back).collect() };
    let path = Path { points: scale(forecast.point), lower: scale(intervals.lower), upper: scale(intervals.upper) };
    let finite = [&path.points, &path.lower, &path.upper].into_iter().flatten().all(|v| v.is_finite() && v.abs() < 1e15);
    if finite { Ok(path) } else { Err("the model's values run out of bounds".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_a_line_with_a_season() {
        let check = |indices: &[f64]| {
            let m = indices.len();
            let y: Vec<f64> = (0..2 * m + 1).map(|t| 5.0 + to_f64(t) + indices[t % m]).collect();
            let got = seasonal_indices(&y, m);
            assert!(got.iter().zip(indices).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?} is not {indices:?}");
        };
        check(&[3.0, -1.0, -4.0, 2.0]);
        check(&[3.0, -1.0, -2.0]);
        check(&[3.0, -3.0]);
    }
}
