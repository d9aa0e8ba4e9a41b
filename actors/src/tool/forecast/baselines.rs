//! Baseline methods, each a few lines of arithmetic, with their intervals.
//! Source: Hyndman & Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed., §5.2 (methods) and §5.5 (intervals).

/// Points with the half-width of one standard deviation of the forecast error at each.
pub(super) struct Path {
    pub(super) points: Vec<f64>,
    pub(super) lower: Vec<f64>,
    pub(super) upper: Vec<f64>,
}

impl Path {
    /// A path whose error at step h (from 1) has the standard deviation `sd(h)`; `z` is the normal quantile of the interval.
    fn normal(points: Vec<f64>, z: f64, sd: impl Fn(f64) -> f64) -> Path {
        let width: Vec<f64> = (1..=points.len()).map(|h| z * sd(to_f64(h))).collect();
        let lower = points.iter().zip(&width).map(|(p, w)| p - w).collect();
        let upper = points.iter().zip(&width).map(|(p, w)| p + w).collect();
        Path { points, lower, upper }
    }

    /// The same value at every step, without doubt.
    pub(super) fn certain(value: f64, horizon: usize) -> Path {
        Path { points: vec![value; horizon], lower: vec![value; horizon], upper: vec![value; horizon] }
    }
}

/// The last value goes on. Variance σ²h.
pub(super) fn naive(y: &[f64], horizon: usize, z: f64) -> Path {
    let last = y.last().copied().unwrap_or_default();
    let sd = residual_sd(y.windows(2).map(|w| w[1] - w[0]), 0);
    Path::normal(vec![last; horizon], z, |h| sd * h.sqrt())
}

/// The value of the same place in the last season. Variance σ²(k + 1), k the whole seasons before step h.
pub(super) fn seasonal_naive(y: &[f64], horizon: usize, season: usize, z: f64) -> Path {
    let start = y.len() - season;
    let points = (0..horizon).map(|h| y[start + h % season]).collect();
    let sd = residual_sd(y.iter().skip(season).zip(y).map(|(now, then)| now - then), 0);
    Path::normal(points, z, |h| sd * (((h - 1.0) / to_f64(season)).floor() + 1.0).sqrt())
}

/// The line from the first to the last value goes on. Variance σ²h(1 + h/(T − 1)).
pub(super) fn drift(y: &[f64], horizon: usize, z: f64) -> Path {
    let (first, last, steps) = (y[0], y[y.len() - 1], to_f64(y.len() - 1));
    let slope = (last - first) / steps;
    let sd = residual_sd(y.windows(2).map(|w| w[1] - w[0] - slope), 1);
    let points = (1..=horizon).map(|h| last + slope * to_f64(h)).collect();
    Path::normal(points, z, |h| sd * (h * (1.0 + h / steps)).sqrt())
}

/// The mean of all values. Variance σ²(1 + 1/T).
pub(super) fn mean(y: &[f64], horizon: usize, z: f64) -> Path {
    let n = to_f64(y.len());
    let mean = y.iter().sum::<f64>() / n;
    let sd = residual_sd(y.iter().map(|v| v - mean), 1);
    Path::normal(vec![mean; horizon], z, |_| sd * (1.0 + 1.0 / n).sqrt())
}

/// √(Σe² / (n − lost)); 0 where too few residuals are there to tell.
fn residual_sd(residuals: impl Iterator<Item = f64>, lost: usize) -> f64 {
    let (mut n, mut squares) = (0, 0.0);
    for e in residuals {
        n += 1;
        squares += e * e;
    }
    if n > lost { (squares / to_f64(n - lost)).sqrt() } else { 0.0 }
}

/// A count as a number; counts here stay far below 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "counts of values are bounded to 10,000")]
pub(in crate::tool) fn to_f64(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &Path, points: &[f64], upper: &[f64]) {
        assert_eq!(path.points, points);
        for (got, want) in path.upper.iter().zip(upper) {
            assert!((got - want).abs() < 1e-9, "{:?} is not {upper:?}", path.upper);
        }
        assert_eq!(path.upper.len(), upper.len());
        for i in 0..points.len() {
            assert!((path.points[i] - path.lower[i] - (path.upper[i] - path.points[i])).abs() < 1e-9);
        }
    }

    #[test]
    fn the_books_formulas() {
        let y = [1.0, 3.0, 2.0, 4.0];
        // naive residuals 2, -1, 2: σ = √3
        check(&naive(&y, 2, 1.0), &[4.0, 4.0], &[4.0 + 3.0_f64.sqrt(), 4.0 + 6.0_f64.sqrt()]);
        // seasonal residuals of season 2: 1, 1: σ = 1
        check(&seasonal_naive(&y, 3, 2, 1.0), &[2.0, 4.0, 2.0], &[3.0, 5.0, 2.0 + 2.0_f64.sqrt()]);
        // slope 1, residuals 1, -2, 1: σ² = 6/2
        check(&drift(&y, 1, 1.0), &[5.0], &[5.0 + (3.0 * (1.0 + 1.0 / 3.0_f64)).sqrt()]);
        // mean 2.5, σ² = 5/3
        check(&mean(&y, 1, 1.0), &[2.5], &[2.5 + (5.0 / 3.0 * 1.25_f64).sqrt()]);
    }
}
