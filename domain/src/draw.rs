//! Random draws: each a pure function of (seed, agent, replica, name, message kind, tick, ordinal), so reading one never
//! moves another. Floats go through `libm`: the same bits on any machine.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::expression::EvalError;
use crate::message::MessageKind;
use crate::value::Value;

/// What a draw is a function of.
#[derive(Clone, Copy, Debug)]
pub struct DrawKey<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The agent's name.
    pub agent: &'a str,
    /// Which of the block.
    pub replica: u32,
    /// The draw's name.
    pub name: &'a str,
    /// The kind of message the turn handles.
    pub kind: MessageKind,
    /// The tick.
    pub tick: u64,
    /// How many messages of that kind the agent handled before in that tick.
    pub ordinal: u32,
}

impl DrawKey<'_> {
    /// A fresh generator: ChaCha8 keyed by BLAKE3 over the fields, texts with their lengths before them.
    pub fn rng(&self) -> ChaCha8Rng {
        DrawStem::new(self.seed, self.agent, self.name, self.kind).rng(self.replica, self.tick, self.ordinal)
    }
}

/// What a draw has in common for all replicas and ticks, hashed once.
#[derive(Clone, Debug)]
pub struct DrawStem(blake3::Hasher);

impl DrawStem {
    /// The stem of a draw.
    pub fn new(seed: u64, agent: &str, name: &str, kind: MessageKind) -> DrawStem {
        let mut hasher = blake3::Hasher::new_derive_key("commedia 2026 draw v1");
        hasher.update(&seed.to_le_bytes());
        for text in [agent, name, kind.word()] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        DrawStem(hasher)
    }

    /// The generator of one draw of it.
    pub fn rng(&self, replica: u32, tick: u64, ordinal: u32) -> ChaCha8Rng {
        let mut rest = [0; 16];
        rest[..4].copy_from_slice(&replica.to_le_bytes());
        rest[4..12].copy_from_slice(&tick.to_le_bytes());
        rest[12..].copy_from_slice(&ordinal.to_le_bytes());
        ChaCha8Rng::from_seed(*self.0.clone().update(&rest).finalize().as_bytes())
    }
}

/// A number in [0, 1) that is a function of a seed, some numbers and a name; `context` keeps its uses apart.
pub fn share(context: &str, seed: u64, numbers: &[u32], name: &str) -> f64 {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&seed.to_le_bytes());
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    unit(&mut ChaCha8Rng::from_seed(*hasher.update(name.as_bytes()).finalize().as_bytes()))
}

/// A draw with its parameters evaluated.
#[derive(Clone, Debug)]
pub enum Distribution {
    /// True with probability p.
    Bernoulli(f64),
    /// Evenly in [min, max).
    Uniform(f64, f64),
    /// Mean, standard deviation.
    Normal(f64, f64),
    /// Mean and standard deviation of the logarithm.
    Lognormal(f64, f64),
    /// A count with a mean.
    Poisson(f64),
    /// A waiting time with a mean.
    Exponential(f64),
    /// One of a list, with weights.
    Choice(Vec<Value>, Vec<f64>),
}

impl Distribution {
    /// One value. Parameters out of their range are an error that names them.
    pub fn sample(&self, rng: &mut impl Rng) -> Result<Value, EvalError> {
        let bad = |what: &str, value: f64| Err(EvalError::new(format!("{what}, and it is {value}")));
        Ok(match self {
            Distribution::Bernoulli(p) if !(0.0..=1.0).contains(p) => return bad("p must be between 0 and 1", *p),
            Distribution::Bernoulli(p) => Value::Bool(unit(rng) < *p),
            Distribution::Uniform(min, max) if !(min <= max && min.is_finite() && max.is_finite()) => {
                return bad("max must not be below min", *max);
            }
            Distribution::Uniform(min, max) => Value::Double(min + (max - min) * unit(rng)),
            Distribution::Normal(_, sd) | Distribution::Lognormal(_, sd) if !(*sd >= 0.0 && sd.is_finite()) => {
                return bad("a standard deviation must not be negative", *sd);
            }
            Distribution::Normal(mean, sd) => Value::Double(mean + sd * standard_normal(rng)),
            Distribution::Lognormal(mu, sigma) => Value::Double(libm::exp(mu + sigma * standard_normal(rng))),
            Distribution::Poisson(mean) if !(0.0..=1e9).contains(mean) => {
                return bad("the mean must be between 0 and 1e9", *mean);
            }
            Distribution::Poisson(mean) => Value::Int(poisson(*mean, rng)),
            Distribution::Exponential(mean) if !(*mean >= 0.0 && mean.is_finite()) => {
                return bad("the mean must not be negative", *mean);
            }
            Distribution::Exponential(mean) => Value::Double(-mean * libm::log(1.0 - unit(rng))),
            Distribution::Choice(of, weights) => choose(of, weights, unit(rng))?,
        })
    }
}

/// Evenly in [0, 1), with 53 bits.
fn unit(rng: &mut impl Rng) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let bits = (rng.next_u64() >> 11) as f64;
    bits * (1.0 / 9_007_199_254_740_992.0)
}

/// Box and Muller, 1958: one of the pair.
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - unit(rng)));
    radius * libm::cos(2.0 * std::f64::consts::PI * unit(rng))
}

/// Below 30 by inversion; above by the transformed rejection of Hörmann, 1993 (PTRS).
fn poisson(mean: f64, rng: &mut impl Rng) -> i64 {
    if mean < 30.0 {
        let (limit, mut product, mut count) = (libm::exp(-mean), unit(rng), 0);
        while product > limit {
            product *= unit(rng);
            count += 1;
        }
        return count;
    }
    let slope = 0.931 + 2.53 * libm::sqrt(mean);
    let shift = -0.059 + 0.024_83 * slope;
    let inverse = 1.1239 + 1.1328 / (slope - 3.4);
    let quick = 0.9277 - 3.6224 / (slope - 2.0);
    loop {
        let u = unit(rng) - 0.5;
        let v = 1.0 - unit(rng);
        let us = 0.5 - libm::fabs(u);
        let k = libm::floor((2.0 * shift / us + slope) * u + mean + 0.43);
        #[expect(clippy::cast_possible_truncation, reason = "k is whole and near a mean of at most 1e9")]
        if us >= 0.07 && v <= quick {
            return k as i64;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let left = libm::log(v) + libm::log(inverse) - libm::log(shift / (us * us) + slope);
        #[expect(clippy::cast_possible_truncation, reason = "k is whole and near a mean of at most 1e9")]
        if left <= k * libm::log(mean) - mean - libm::lgamma(k + 1.0) {
            return k as i64;
        }
    }
}

fn choose(of: &[Value], weights: &[f64], at: f64) -> Result<Value, EvalError> {
    if of.is_empty() {
        return Err(EvalError::new("`of` must hold at least one item"));
    }
    if weights.is_empty() {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        return Ok(of[((at * of.len() as f64) as usize).min(of.len() - 1)].clone());
    }
    if weights.len() != of.len() || weights.iter().any(|w| !(*w >= 0.0 && w.is_finite())) {
        return Err(EvalError::new(format!("`weights` must be {} numbers that are not negative", of.len())));
    }
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return Err(EvalError::new("one of `weights` must be above 0"));
    }
    let mut rest = at * total;
    for (item, weight) in of.iter().zip(weights) {
        if rest < *weight {
            return Ok(item.clone());
        }
        rest -= weight;
    }
    Ok(of[weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, ordinal: u32) -> DrawKey<'_> {
        DrawKey { seed: 1, agent: "customer", replica: 3, name, kind: MessageKind::Tick, tick: 7, ordinal }
    }

    /// Golden: these bits are stored in users' logs. A change here needs a new engine number.
    #[test]
    fn draws_keep_their_bits() {
        let rows: [(Distribution, &str); 7] = [
            (Distribution::Bernoulli(0.5), "bool"),
            (Distribution::Uniform(0.0, 1.0), "double"),
            (Distribution::Normal(0.0, 1.0), "double"),
            (Distribution::Lognormal(0.0, 1.0), "double"),
            (Distribution::Poisson(4.0), "int"),
            (Distribution::Poisson(400.0), "int"),
            (Distribution::Exponential(2.0), "double"),
        ];
        let drawn: Vec<String> = rows
            .iter()
            .map(|(d, kind)| {
                let value = d.sample(&mut key("x", 0).rng()).expect("valid");
                assert_eq!(value.kind(), *kind, "{d:?}");
                value.to_json().to_string()
            })
            .collect();
        let again: Vec<String> =
            rows.iter().map(|(d, _)| d.sample(&mut key("x", 0).rng()).expect("valid").to_json().to_string()).collect();
        assert_eq!(drawn, again);
        assert_eq!(drawn.join(" "), GOLDEN);
        assert_ne!(key("x", 0).rng().next_u64(), key("x", 1).rng().next_u64());
        assert_ne!(key("x", 0).rng().next_u64(), key("y", 0).rng().next_u64());
    }

    const GOLDEN: &str = "false 0.9155818233497416 -1.5715106363589264 0.20773113900262835 5 433 4.94394507482564";

    #[test]
    fn means_are_what_they_should_be() {
        let rows = [
            (Distribution::Uniform(2.0, 4.0), 3.0, 0.05),
            (Distribution::Normal(5.0, 2.0), 5.0, 0.1),
            (Distribution::Poisson(3.5), 3.5, 0.1),
            (Distribution::Poisson(60.0), 60.0, 0.5),
            (Distribution::Exponential(7.0), 7.0, 0.35),
            (Distribution::Choice(vec![Value::Int(0), Value::Int(10)], vec![3.0, 1.0]), 2.5, 0.2),
        ];
        for (distribution, mean, tolerance) in rows {
            let sum: f64 =
                (0..8000).map(|n| distribution.sample(&mut key("m", n).rng()).expect("valid").as_f64().expect("number")).sum();
            assert!((sum / 8000.0 - mean).abs() < tolerance, "{distribution:?}: {}", sum / 8000.0);
        }
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for (distribution, word) in [
            (Distribution::Bernoulli(1.5), "p must"),
            (Distribution::Uniform(2.0, 1.0), "max must"),
            (Distribution::Normal(0.0, -1.0), "standard deviation"),
            (Distribution::Poisson(f64::NAN), "mean"),
            (Distribution::Choice(vec![], vec![]), "of"),
            (Distribution::Choice(vec![Value::Null], vec![0.0]), "weights"),
        ] {
            let error = distribution.sample(&mut key("e", 0).rng()).expect_err("refused");
            assert!(error.message.contains(word), "{error}");
        }
    }
}
