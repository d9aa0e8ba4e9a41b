//! Statistics over the runs of one scenario: mean, standard deviation, the 95 % interval of the mean, percentiles.
//!
//! Sources: Student's t by the regularized incomplete beta function I_x(a, b) (Abramowitz and Stegun 26.5.27), I_x by its continued
//! fraction (DLMF 8.17.22) in Lentz' form; percentiles by linear interpolation (definition 7 of Hyndman and Fan 1996).

use serde_json::{Value as Json, json};

/// What is known of one metric over several runs. Units are the metric's.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How many runs gave a value.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Standard deviation of the sample (n − 1); two values at least.
    pub sd: Option<f64>,
    /// The interval that holds the true mean with 95 % confidence, if the values are about normal; two values at least.
    pub ci95: Option<(f64, f64)>,
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// Least.
    pub min: Option<f64>,
    /// Greatest.
    pub max: Option<f64>,
}

impl Summary {
    /// Of some values; what is not finite is left out.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Summary {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let count = as_f64(n);
        let mean = (n > 0).then(|| mean(&values, count));
        let sd = mean.filter(|_| n > 1).map(|m| {
            let squares: f64 = values.iter().map(|v| (v - m) * (v - m)).sum();
            libm::sqrt(squares / (count - 1.0))
        });
        let ci95 = mean.zip(sd).map(|(m, sd)| {
            let half = student_t(0.975, count - 1.0) * sd / libm::sqrt(count);
            (m - half, m + half)
        });
        Summary {
            n,
            mean,
            sd,
            ci95,
            p50: percentile(&values, 0.5),
            p95: percentile(&values, 0.95),
            min: values.first().copied(),
            max: values.last().copied(),
        }
    }

    /// As promised: `{n, mean, sd, ci95: [lo, hi], p50, p95}`; null where there are too few values.
    pub fn to_json(&self) -> Json {
        json!({
            "n": self.n, "mean": self.mean, "sd": self.sd, "ci95": self.ci95.map(|(lo, hi)| [lo, hi]), "p50": self.p50, "p95": self.p95,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of runs are far below 2^52")]
fn as_f64(n: usize) -> f64 {
    n as f64
}

/// The mean, from the least value on, so that neither order nor a large offset costs digits.
fn mean(sorted: &[f64], count: f64) -> f64 {
    let base = sorted[sorted.len() / 2];
    base + sorted.iter().map(|v| v - base).sum::<f64>() / count
}

/// The value below which the share `p` of sorted values lies, between two of them by linear interpolation.
pub fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = p.clamp(0.0, 1.0) * as_f64(last);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last index")]
    let low = libm::floor(at) as usize;
    let high = (low + 1).min(last);
    let (a, b) = (sorted[low], sorted[high]);
    Some(if a == b { a } else { a + (b - a) * (at - as_f64(low)) })
}

/// The quantile of Student's t distribution: the t below which a share `p` (0.5 up to, not including, 1) lies, with `df` > 0
/// degrees of freedom. Accurate to about 1e-10 relative.
pub fn student_t(p: f64, df: f64) -> f64 {
    let below = |t: f64| 1.0 - 0.5 * incomplete_beta(df / (df + t * t), df / 2.0, 0.5);
    if p <= 0.5 {
        return 0.0;
    }
    let mut high = 1.0;
    while below(high) < p && high < 1e12 {
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The regularized incomplete beta function I_x(a, b) for 0 ≤ x ≤ 1.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let ln_front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x);
    let front = libm::exp(ln_front);
    // The fraction converges fast on the near side of the mean; the other side follows by symmetry.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of I_x(a, b) by Lentz' method as modified by Thompson and Barnett.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..=1000_u32 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the table "Percentiles of the t distribution" (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2).
    #[test]
    fn students_t_is_that_of_the_tables() {
        let check = |df: f64, expect: [f64; 5]| {
            for (p, expect) in [0.90, 0.95, 0.975, 0.99, 0.995].into_iter().zip(expect) {
                let t = student_t(p, df);
                assert!((t - expect).abs() < 0.000_51, "t({p}, {df}) = {t}, the table says {expect}");
            }
        };
        check(1.0, [3.078, 6.314, 12.706, 31.821, 63.657]);
        check(2.0, [1.886, 2.920, 4.303, 6.965, 9.925]);
        check(5.0, [1.476, 2.015, 2.571, 3.365, 4.032]);
        check(9.0, [1.383, 1.833, 2.262, 2.821, 3.250]);
        check(30.0, [1.310, 1.697, 2.042, 2.457, 2.750]);
        check(100.0, [1.290, 1.660, 1.984, 2.364, 2.626]);
        check(1e9, [1.282, 1.645, 1.960, 2.326, 2.576]);
    }

    /// With one and two degrees of freedom the quantile has a closed form.
    #[test]
    fn students_t_is_exact_where_it_can_be_written_down() {
        for p in [0.6, 0.75, 0.9, 0.975, 0.999] {
            let one = libm::tan(std::f64::consts::PI * (p - 0.5));
            assert!((student_t(p, 1.0) / one - 1.0).abs() < 1e-9, "{p}");
            let q: f64 = 4.0 * p * (1.0 - p);
            let two = (2.0 * p - 1.0) * libm::sqrt(2.0 / q);
            assert!((student_t(p, 2.0) / two - 1.0).abs() < 1e-9, "{p}");
        }
    }

    #[test]
    fn summaries() {
        let near = |a: Option<f64>, b: f64| a.is_some_and(|a| (a - b).abs() < 1e-9);
        let s = Summary::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert!(s.n == 8 && near(s.mean, 5.0) && near(s.sd, libm::sqrt(32.0 / 7.0)), "{s:?}");
        assert!(near(s.p50, 4.5) && near(s.p95, 8.3) && near(s.min, 2.0) && near(s.max, 9.0), "{s:?}");
        let (lo, hi) = s.ci95.expect("eight values");
        // 5 ∓ 2.364624 × 2.138090 / √8
        assert!((lo - 3.212_51).abs() < 1e-4 && (hi - 6.787_49).abs() < 1e-4, "{lo} {hi}");
        let one = Summary::of([3.0, f64::NAN]);
        assert!(one.n == 1 && near(one.mean, 3.0) && one.sd.is_none() && one.ci95.is_none() && near(one.p95, 3.0));
        assert_eq!(Summary::of([]).to_json().to_string(), r#"{"n":0,"mean":null,"sd":null,"ci95":null,"p50":null,"p95":null}"#);
        let equal = Summary::of([0.1; 10]);
        assert_eq!((equal.sd, equal.ci95), (Some(0.0), Some((0.1, 0.1))));
    }
}
