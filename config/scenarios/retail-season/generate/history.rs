//! Makes the data of the pack: three years of weekly history, and the curve the market draws the coming season from.
//! Whole-number seeds and libm only, so every machine writes the same bytes. Invented: no figure is anybody's sales.
//! The market of the scenario uses the same shares, noise and shocks; change them in both places.

use std::fmt::Write as _;

/// Weeks of history: 2023-W01 to 2025-W52, all three years of 52 ISO weeks.
pub(crate) const HISTORY_WEEKS: u32 = 156;
/// Weeks of the curve after the history: any start in the coming year and 52 weeks from it.
pub(crate) const CURVE_WEEKS: u32 = 104;
/// Weeks in a year of this pack's calendar.
const YEAR: u32 = 52;
/// Weekly autocorrelation of the noise and standard deviation of what is new in it (of logarithms).
const NOISE: (f64, f64) = (0.3, 0.05);
/// Probability that a week is a bad one (weather, strikes), and what is left of its demand.
const SHOCK: (f64, f64) = (0.04, 0.7);
/// Weeks of promotion in a year; they move from year to year.
const PROMOTIONS: u32 = 6;

struct Category {
    id: &'static str,
    name: &'static str,
    full_price: &'static str,
    unit_cost: &'static str,
    /// Price elasticity of demand: demand is multiplied by (price / full price) to the power of minus this.
    elasticity: &'static str,
    /// Units a week at the start of the history, over all shops.
    base: f64,
    /// Growth in a year.
    growth: f64,
    /// Yearly wave: amplitude of its logarithm, and the week of its peak.
    wave: (f64, f64),
    /// Half-yearly wave: the same.
    half: (f64, f64),
    /// What a week of promotion multiplies demand with.
    uplift: f64,
}

const CATEGORIES: [Category; 3] = [
    Category {
        id: "denim",
        name: "Denim",
        full_price: "69.0",
        unit_cost: "27.0",
        elasticity: "1.5",
        base: 520.0,
        growth: 0.12,
        wave: (0.16, 36.0),
        half: (0.12, 10.0),
        uplift: 1.30,
    },
    Category {
        id: "dresses",
        name: "Dresses",
        full_price: "59.0",
        unit_cost: "21.0",
        elasticity: "1.9",
        base: 600.0,
        growth: 0.10,
        wave: (0.42, 23.0),
        half: (0.08, 20.0),
        uplift: 1.38,
    },
    Category {
        id: "knitwear",
        name: "Knitwear",
        full_price: "49.0",
        unit_cost: "18.0",
        elasticity: "1.7",
        base: 460.0,
        growth: 0.09,
        wave: (0.50, 47.0),
        half: (0.10, 46.0),
        uplift: 1.34,
    },
];

/// A cluster: id, name, its share of demand, its stores' shares of the cluster.
const CLUSTERS: [(&str, &str, f64, &[f64]); 3] = [
    ("flagship", "Flagship stores", 0.46, &[0.42, 0.33, 0.25]),
    ("mall", "Mall stores", 0.36, &[0.27, 0.23, 0.20, 0.17, 0.13]),
    ("outlet", "Outlets", 0.18, &[0.32, 0.28, 0.22, 0.18]),
];

/// The files of `data/` with their text.
pub(crate) fn files() -> Vec<(&'static str, String)> {
    vec![
        ("categories.csv", categories()),
        ("history.csv", history()),
        ("market_curve.csv", curve()),
        ("store_clusters.csv", clusters()),
        ("stores.csv", stores()),
    ]
}

fn categories() -> String {
    let mut out = String::from("category_id,name,full_price,unit_cost,elasticity\n");
    for c in &CATEGORIES {
        line(&mut out, format_args!("{},{},{},{},{}", c.id, c.name, c.full_price, c.unit_cost, c.elasticity));
    }
    out
}

fn clusters() -> String {
    let mut out = String::from("cluster_id,name,share\n");
    for (id, name, share, _) in CLUSTERS {
        line(&mut out, format_args!("{id},{name},{share}"));
    }
    out
}

fn stores() -> String {
    let mut out = String::from("store_id,name,cluster,share\n");
    let mut n = 0;
    for (cluster, _, _, shares) in CLUSTERS {
        for share in shares {
            n += 1;
            line(&mut out, format_args!("s{n:02},Store {n},{cluster},{share}"));
        }
    }
    out
}

/// Three years: what was sold, with noise, shocks and promotions in it.
fn history() -> String {
    let mut out = String::from("category,week,week_start,units,promotion\n");
    for (n, c) in CATEGORIES.iter().enumerate() {
        let mut random = Random(0x5EED_0011 + n as u64);
        let mut noise = 0.0;
        let mut promoted = Vec::new();
        for week in 1..=HISTORY_WEEKS {
            if (week - 1) % YEAR == 0 {
                promoted = promotion_weeks(&mut random, week);
            }
            noise = NOISE.0 * noise + NOISE.1 * random.normal();
            let shock = if random.uniform() < SHOCK.0 { SHOCK.1 } else { 1.0 };
            let promotion = u32::from(promoted.contains(&week));
            let uplift = if promotion == 1 { c.uplift } else { 1.0 };
            let units = libm::round(c.demand(week) * libm::exp(noise) * shock * uplift);
            line(&mut out, format_args!("{},{week},{},{units},{promotion}", c.id, monday(week)));
        }
    }
    out
}

/// The two years after: the demand at full price without noise, shock and promotion. Only the market reads it.
fn curve() -> String {
    let mut out = String::from("category,week,units\n");
    for c in &CATEGORIES {
        for week in HISTORY_WEEKS + 1..=HISTORY_WEEKS + CURVE_WEEKS {
            line(&mut out, format_args!("{},{week},{:.1}", c.id, libm::round(c.demand(week) * 10.0) / 10.0));
        }
    }
    out
}

impl Category {
    /// Expected units in a week, counted from 1 at the start of the history: base × growth × two waves.
    fn demand(&self, week: u32) -> f64 {
        let year = f64::from(week - 1) / f64::from(YEAR);
        let wave = |(amplitude, peak): (f64, f64), cycles: f64| {
            let place = f64::from((week - 1) % YEAR + 1) - peak;
            amplitude * libm::cos(cycles * std::f64::consts::TAU * place / f64::from(YEAR))
        };
        self.base * libm::pow(1.0 + self.growth, year) * libm::exp(wave(self.wave, 1.0) + wave(self.half, 2.0))
    }
}

/// Six weeks of the year that begins at `first`, no two of them neighbours.
fn promotion_weeks(random: &mut Random, first: u32) -> Vec<u32> {
    let mut weeks: Vec<u32> = Vec::new();
    while weeks.len() < PROMOTIONS as usize {
        let week = first + random.below(YEAR);
        if weeks.iter().all(|w| w.abs_diff(week) > 1) {
            weeks.push(week);
        }
    }
    weeks
}

/// The Monday of a week; week 1 begins on 2023-01-02.
fn monday(week: u32) -> String {
    let (mut year, mut month, mut day) = (2023, 1, 2 + 7 * (week - 1));
    loop {
        let february = if year % 4 == 0 { 29 } else { 28 };
        let length = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
        if day <= length {
            return format!("{year}-{month:02}-{day:02}");
        }
        day -= length;
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
    out.push('\n');
}

/// SplitMix64 (Steele, Lea & Flood 2014): enough for invented data, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Within [0, 1): 53 bits.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
    fn below(&mut self, n: u32) -> u32 {
        (self.next() % u64::from(n)) as u32
    }
    /// Standard normal, by Box and Muller (1958).
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
    }
}
