//! What promotions did to a series: estimated, taken out before a model sees it, put back where promotions are planned.
//! Never touches a series that holds zeros or negative values: a multiple of them says nothing.

/// How far to either side the neighbours without promotion lie that make the local base.
const REACH: usize = 3;

/// The effect of one unit of promotion on the logarithm of the values: least squares through the origin of
/// ln(y / local base) on the promotion, the local base being the mean of up to 2 × 3 neighbours without promotion.
/// 0 where nothing was promoted or no base is there.
pub(super) fn effect(y: &[f64], promotions: &[f64]) -> f64 {
    let (mut along, mut squares) = (0.0, 0.0);
    for (t, p) in promotions.iter().enumerate().filter(|(_, p)| **p != 0.0) {
        if let Some(base) = local_base(y, promotions, t) {
            along += p * libm::log(y[t] / base);
            squares += p * p;
        }
    }
    if squares > 0.0 { along / squares } else { 0.0 }
}

fn local_base(y: &[f64], promotions: &[f64], t: usize) -> Option<f64> {
    let before = (t.saturating_sub(REACH)..t).filter(|i| promotions[*i] == 0.0).map(|i| y[i]);
    let after = (t + 1..(t + 1 + REACH).min(y.len())).filter(|i| promotions[*i] == 0.0).map(|i| y[i]);
    let (before, after): (Vec<f64>, Vec<f64>) = (before.collect(), after.collect());
    let mean = |v: &[f64]| if v.is_empty() { None } else { Some(v.iter().sum::<f64>() / super::baselines::to_f64(v.len())) };
    match (mean(&before), mean(&after)) {
        (Some(a), Some(b)) => Some((a + b) / 2.0),
        (one, other) => one.or(other),
    }
}

/// The factor that `promotion` units of promotion have.
pub(super) fn factor(effect: f64, promotion: f64) -> f64 {
    libm::exp(effect * promotion)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(y: &[f64], promotions: &[f64], expect: f64) {
        let factor = factor(effect(y, promotions), 1.0);
        assert!((factor - expect).abs() < 1e-9, "{factor} is not {expect}");
    }

    #[test]
    fn effects() {
        check(&[10.0, 10.0, 15.0, 10.0, 10.0], &[0.0, 0.0, 1.0, 0.0, 0.0], 1.5);
        check(&[10.0, 20.0, 45.0, 40.0, 50.0], &[0.0, 0.0, 1.0, 0.0, 0.0], 1.5); // the base rises: 15 before, 45 after, so 30
        check(&[10.0, 15.0], &[0.0, 1.0], 1.5); // a base on one side only
        check(&[10.0, 12.0], &[0.0, 0.0], 1.0);
        check(&[10.0, 12.0], &[1.0, 1.0], 1.0); // no base at all
        check(&[10.0, 40.0, 10.0], &[0.0, 2.0, 0.0], 2.0); // two units of promotion
    }
}
