//! Every function of the language in one table: name, meaning, types, source of the formula, examples that are tested.
//! Functions are pure; float functions come from `libm`, so results are the same on every machine.

mod convert;
mod list;
mod number;
mod returns;
pub(in crate::expression) mod text;
mod time;
mod world;

pub(super) use text::pattern;

use super::machine::Machine;
use super::types::{ANY, BOOL, COLL, INT, ITEMS, Kinds, LIST, MAP, NULL, NUM, ORDERED, SPAN, TEXT, TIME};
use super::{EvalError, Type};
use crate::value::Value;

/// What a function does with its arguments, whose kinds and number have been checked.
pub(super) type Call = fn(&[Value], &mut Machine<'_>) -> Result<Value, EvalError>;

/// A function of the language.
#[derive(Clone, Debug)]
pub struct FunctionDoc {
    /// Its name.
    pub name: &'static str,
    /// How it is called, and what comes back.
    pub signature: &'static str,
    /// What it gives, in one or two sentences.
    pub meaning: &'static str,
    /// Where the formula or the behaviour is from; empty where it is plain.
    pub source: &'static str,
    /// Expressions and their values as JSON.
    pub examples: &'static [(&'static str, &'static str)],
    /// Whether `x.f(…)` may be written for `f(x, …)`.
    pub method: bool,
    /// Kinds per argument; the last one holds for all further ones.
    pub(super) args: &'static [Kinds],
    /// The least number of arguments.
    pub(super) least: usize,
    /// The greatest number of arguments.
    pub(super) most: usize,
    /// Whether a list as first argument must hold numbers.
    pub(super) numbers: bool,
    /// Arguments that name a field of the first one's items.
    pub(super) fields: &'static [usize],
    /// Whether it goes through its arguments, item by item.
    pub(super) linear: bool,
    pub(super) returns: fn(&[Type]) -> Type,
    pub(super) call: Call,
}

/// A form that binds a name or does not evaluate its argument.
#[derive(Clone, Copy, Debug)]
pub struct MacroDoc {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub signature: &'static str,
    /// What it gives.
    pub meaning: &'static str,
}

/// The macros: CEL's, and `sort_by`.
pub const MACROS: &[MacroDoc] = &[
    MacroDoc {
        name: "has",
        signature: "has(x.field) -> bool",
        meaning: "Whether the field is there; of `params`, `state`, `self`, `draws`, `message`, `run`: whether it is not null.",
    },
    MacroDoc {
        name: "all",
        signature: "items.all(x, condition) -> bool",
        meaning: "Whether the condition holds for every item.",
    },
    MacroDoc { name: "exists", signature: "items.exists(x, condition) -> bool", meaning: "Whether it holds for some item." },
    MacroDoc {
        name: "exists_one",
        signature: "items.exists_one(x, condition) -> bool",
        meaning: "Whether it holds for exactly one item.",
    },
    MacroDoc {
        name: "filter",
        signature: "items.filter(x, condition) -> list",
        meaning: "The items for which it holds; of a collection through an index or the key where the condition asks a field to equal something.",
    },
    MacroDoc {
        name: "map",
        signature: "items.map(x, value), items.map(x, condition, value) -> list",
        meaning: "The value for each item (for which the condition holds).",
    },
    MacroDoc {
        name: "sort_by",
        signature: "items.sort_by(x, value) -> list",
        meaning: "The items in the order of their values; equal ones stay in order.",
    },
];

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static FunctionDoc> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

const fn f(
    name: &'static str,
    signature: &'static str,
    args: &'static [Kinds],
    returns: fn(&[Type]) -> Type,
    call: Call,
) -> FunctionDoc {
    let many = args.len();
    FunctionDoc {
        name,
        signature,
        meaning: "",
        source: "",
        examples: &[],
        method: many > 0,
        args,
        least: many,
        most: many,
        numbers: false,
        fields: &[],
        linear: false,
        returns,
        call,
    }
}

impl FunctionDoc {
    const fn is(self, meaning: &'static str, examples: &'static [(&'static str, &'static str)]) -> FunctionDoc {
        FunctionDoc { meaning, examples, ..self }
    }
    const fn from(self, source: &'static str) -> FunctionDoc {
        FunctionDoc { source, ..self }
    }
    const fn least(self, least: usize) -> FunctionDoc {
        FunctionDoc { least, ..self }
    }
    const fn variadic(self) -> FunctionDoc {
        FunctionDoc { most: 32, ..self }
    }
    const fn linear(self) -> FunctionDoc {
        FunctionDoc { linear: true, ..self }
    }
    const fn numbers(self) -> FunctionDoc {
        FunctionDoc { numbers: true, linear: true, ..self }
    }
    const fn fields(self, fields: &'static [usize]) -> FunctionDoc {
        FunctionDoc { fields, ..self }
    }
    const fn plain(self) -> FunctionDoc {
        FunctionDoc { method: false, ..self }
    }
    /// The kinds the argument at a place may have.
    pub(super) fn kinds(&self, place: usize) -> Kinds {
        self.args.get(place).or(self.args.last()).copied().unwrap_or(ANY)
    }
}

const CEL: &str = "CEL specification, standard definitions";
const CEL_EXT: &str = "CEL extension library (strings, math, lists)";
const LIBM: &str = "libm (musl), the same on every machine";
const MOMENTS: Kinds = TIME | TEXT;

/// All functions.
pub const FUNCTIONS: &[FunctionDoc] = &[
    // conversions
    f("size", "size(x) -> int", &[TEXT | LIST | MAP | COLL], returns::int, convert::size).from(CEL)
        .is("How many characters, items, keys or records.", &[("size('añb')", "3"), ("[1, 2].size()", "2"), ("size({'a': 1})", "1"), ("size(sales)", "3")]),
    f("int", "int(x) -> int", &[NUM | TEXT | TIME | SPAN], returns::int, convert::int).from(CEL)
        .is("A whole number: of a double without its fraction, of text, of a timestamp the seconds since 1970, of a duration its seconds.",
            &[("int(2.9)", "2"), ("int(-2.9)", "-2"), ("int('42')", "42"), ("int(duration('2m'))", "120")]),
    f("double", "double(x) -> double", &[NUM | TEXT | SPAN], returns::double, convert::double).from(CEL)
        .is("A double, of an int, a text or the seconds of a duration.", &[("double(2)", "2.0"), ("double('2.5')", "2.5"), ("double(duration('1500ms'))", "1.5")]),
    f("string", "string(x) -> string", &[NUM | TEXT | BOOL | TIME | SPAN], returns::text, convert::string).from(CEL)
        .is("Text of a scalar; timestamps in RFC 3339, durations in ISO 8601.",
            &[("string(5)", "\"5\""), ("string(2.5)", "\"2.5\""), ("string(timestamp('2026-01-05'))", "\"2026-01-05T00:00:00Z\"")]),
    f("bool", "bool(x) -> bool", &[BOOL | TEXT], returns::bool, convert::bool).from(CEL)
        .is("Truth of the texts 'true' and 'false'.", &[("bool('true')", "true")]),
    f("type", "type(x) -> string", &[ANY], returns::text, convert::kind)
        .is("The kind of a value: null bool int double string list map timestamp duration collection.", &[("type(2.0)", "\"double\""), ("type(sales)", "\"collection\"")]),
    f("json", "json(x) -> string", &[ANY], returns::text, convert::json).from("RFC 8259")
        .is("The value as JSON text; keys of maps in order.", &[("json({'b': 1, 'a': [true, null]})", "\"{\\\"a\\\":[true,null],\\\"b\\\":1}\"")]),
    f("timestamp", "timestamp(x) -> timestamp", &[TEXT | INT | TIME], returns::time, time::timestamp).from("RFC 3339")
        .is("A moment, of text (a date alone is midnight UTC, a time without offset is UTC) or of seconds since 1970.",
            &[("timestamp('2026-01-05T08:30:00Z')", "\"2026-01-05T08:30:00Z\""), ("timestamp('2026-01-05') == timestamp('2026-01-05T00:00:00Z')", "true"), ("timestamp(0)", "\"1970-01-01T00:00:00Z\"")]),
    f("duration", "duration(text) -> duration", &[TEXT | SPAN], returns::span, time::duration).from("ISO 8601 and CEL's number + unit")
        .is("A span of time, of 'P1W', 'PT1H30M', '1h30m', '200ms'; months and years are no fixed span.",
            &[("duration('PT1H')", "\"PT3600S\""), ("duration('1h30m') == duration('PT90M')", "true"), ("duration('P1W')", "\"PT604800S\"")]),
    // text
    f("contains", "contains(text, part) -> bool", &[TEXT, TEXT], returns::bool, text::contains).linear().from(CEL)
        .is("Whether the part stands in the text.", &[("'abc'.contains('b')", "true")]),
    f("startsWith", "startsWith(text, part) -> bool", &[TEXT, TEXT], returns::bool, text::starts_with).linear().from(CEL)
        .is("Whether the text starts so.", &[("'abc'.startsWith('ab')", "true")]),
    f("endsWith", "endsWith(text, part) -> bool", &[TEXT, TEXT], returns::bool, text::ends_with).linear().from(CEL)
        .is("Whether the text ends so.", &[("'abc'.endsWith('ab')", "false")]),
    f("matches", "matches(text, pattern) -> bool", &[TEXT, TEXT], returns::bool, text::matches).linear().from("RE2 syntax, linear time")
        .is("Whether the pattern is found in the text.", &[("'a12'.matches('^[a-z][0-9]+$')", "true")]),
    f("lowerAscii", "lowerAscii(text) -> string", &[TEXT], returns::text, text::lower).linear().from(CEL_EXT)
        .is("With A–Z as a–z.", &[("'AbC'.lowerAscii()", "\"abc\"")]),
    f("upperAscii", "upperAscii(text) -> string", &[TEXT], returns::text, text::upper).linear().from(CEL_EXT)
        .is("With a–z as A–Z.", &[("'AbC'.upperAscii()", "\"ABC\"")]),
    f("trim", "trim(text) -> string", &[TEXT], returns::text, text::trim).linear().from(CEL_EXT)
        .is("Without the blanks around it.", &[("'  a b '.trim()", "\"a b\"")]),
    f("split", "split(text, by) -> list", &[TEXT, TEXT], returns::texts, text::split).linear().from(CEL_EXT)
        .is("The parts between; '' splits into characters.", &[("'a,b'.split(',')", "[\"a\",\"b\"]"), ("'ab'.split('')", "[\"a\",\"b\"]")]),
    f("join", "join(list, between?) -> string", &[LIST, TEXT], returns::text, text::join).least(1).linear().from(CEL_EXT)
        .is("The texts of a list in one.", &[("['a', 'b'].join('-')", "\"a-b\""), ("['a', 'b'].join()", "\"ab\"")]),
    f("replace", "replace(text, old, new) -> string", &[TEXT, TEXT, TEXT], returns::text, text::replace).linear().from(CEL_EXT)
        .is("With every `old` as `new`.", &[("'a-b-c'.replace('-', '+')", "\"a+b+c\"")]),
    f("substring", "substring(text, from, to?) -> string", &[TEXT, INT, INT], returns::text, text::substring).least(2).linear().from(CEL_EXT)
        .is("The characters from (counting from 0) to (exclusive, or the end); past the end there is nothing.", &[("'abcd'.substring(1, 3)", "\"bc\""), ("'abcd'.substring(2)", "\"cd\"")]),
    // numbers
    f("abs", "abs(x) -> number", &[NUM], returns::same_number, number::abs).is("Without its sign.", &[("abs(-2)", "2"), ("abs(-2.5)", "2.5")]),
    f("min", "min(a, b, …), min(list) -> value", &[ORDERED | LIST, ORDERED], returns::extreme, number::min).least(1).variadic().linear()
        .is("The least; of equal ones the first.", &[("min(2, 1.5)", "1.5"), ("[3, 1, 2].min()", "1")]),
    f("max", "max(a, b, …), max(list) -> value", &[ORDERED | LIST, ORDERED], returns::extreme, number::max).least(1).variadic().linear()
        .is("The greatest; of equal ones the first.", &[("max(0, -3)", "0"), ("max(['a', 'b'])", "\"b\"")]),
    f("clamp", "clamp(x, lo, hi) -> number", &[NUM, NUM, NUM], returns::extreme, number::clamp)
        .is("`x`, but at least `lo` and at most `hi`.", &[("clamp(5, 0, 3)", "3"), ("clamp(0.5, 0, 1)", "0.5")]),
    f("round", "round(x, digits?) -> number", &[NUM, INT], returns::same_number, number::round).least(1).from("libm round: half away from zero; with digits round(x · 10^d) / 10^d")
        .is("The nearest whole number, or with so many digits after the point; of a double a double.", &[("round(2.5)", "3.0"), ("round(-2.5)", "-3.0"), ("round(2.347, 2)", "2.35"), ("round(1234, -2)", "1200"), ("round(7)", "7")]),
    f("floor", "floor(x) -> number", &[NUM], returns::same_number, number::floor).from(LIBM)
        .is("The greatest whole number not above it; of a double a double.", &[("floor(-2.5)", "-3.0"), ("floor(2)", "2")]),
    f("ceil", "ceil(x) -> number", &[NUM], returns::same_number, number::ceil).from(LIBM)
        .is("The least whole number not below it; of a double a double.", &[("ceil(2.1)", "3.0")]),
    f("sqrt", "sqrt(x) -> double", &[NUM], returns::double, number::sqrt).from(LIBM).is("The square root.", &[("sqrt(9)", "3.0")]),
    f("pow", "pow(x, y) -> double", &[NUM, NUM], returns::double, number::pow).from(LIBM).is("x to the power of y.", &[("pow(2, 10)", "1024.0"), ("pow(4.0, 0.5)", "2.0")]),
    f("exp", "exp(x) -> double", &[NUM], returns::double, number::exp).from(LIBM).is("e to the power of x.", &[("exp(0)", "1.0")]),
    f("log", "log(x) -> double", &[NUM], returns::double, number::log).from(LIBM).is("The natural logarithm.", &[("log(1)", "0.0")]),
    f("sin", "sin(x) -> double", &[NUM], returns::double, number::sin).from(LIBM).is("The sine of an angle in radians.", &[("sin(0)", "0.0")]),
    f("cos", "cos(x) -> double", &[NUM], returns::double, number::cos).from(LIBM).is("The cosine of an angle in radians.", &[("cos(0)", "1.0")]),
    // statistics
    f("sum", "sum(list) -> number", &[LIST], returns::item_number, number::sum).numbers().from("doubles: Neumaier's compensated summation (1974)")
        .is("The sum; of ints an int, of nothing 0.", &[("sum([1, 2, 3])", "6"), ("[0.1, 0.2, 0.3].sum()", "0.6"), ("sum([])", "0")]),
    f("mean", "mean(list) -> double", &[LIST], returns::double, number::mean).numbers().is("The arithmetic mean; an error of nothing.", &[("mean([1, 2])", "1.5")]),
    f("median", "median(list) -> double", &[LIST], returns::double, number::median).numbers().from("Hyndman & Fan (1996), type 7")
        .is("The middle; of an even count the mean of both.", &[("median([3, 1, 2])", "2.0"), ("[1, 2].median()", "1.5")]),
    f("quantile", "quantile(list, q) -> double", &[LIST, NUM], returns::double, number::quantile).numbers().from("Hyndman & Fan (1996), type 7, as in R and NumPy")
        .is("The quantile q between 0 and 1, between two values by linear interpolation.", &[("quantile([10, 20, 30, 40], 0.25)", "17.5"), ("[1, 2].quantile(1)", "2.0")]),
    f("variance", "variance(list) -> double", &[LIST], returns::double, number::variance).numbers().from("Σ(x − mean)² / (n − 1), in two passes")
        .is("The variance of a sample of two or more.", &[("variance([1, 2, 3, 4])", "1.6666666666666667")]),
    f("stdev", "stdev(list) -> double", &[LIST], returns::double, number::stdev).numbers().from("square root of `variance`")
        .is("The standard deviation of a sample of two or more.", &[("stdev([1, 3])", "1.4142135623730951")]),
    // lists
    f("range", "range(n), range(a, b) -> list", &[INT, INT], returns::ints, list::range).least(1).plain()
        .is("The ints from 0 or a, up to but without n or b.", &[("range(3)", "[0,1,2]"), ("range(2, 4)", "[2,3]"), ("range(4, 2)", "[]")]),
    f("sort", "sort(list) -> list", &[LIST], returns::same, list::sort).linear().is("In rising order; values of one kind.", &[("[2, 1.5, 1].sort()", "[1,1.5,2]")]),
    f("reverse", "reverse(list) -> list", &[ITEMS], returns::items, list::reverse).linear().is("From the last to the first.", &[("[1, 2].reverse()", "[2,1]")]),
    f("distinct", "distinct(list) -> list", &[LIST], returns::same, list::distinct).linear().is("Each value once, where it stands first.", &[("[1, 2, 1.0].distinct()", "[1,2]")]),
    f("flatten", "flatten(list) -> list", &[LIST], returns::flat, list::flatten).linear().from(CEL_EXT).is("The items of the lists in it, one level.", &[("[[1], [2, [3]], 4].flatten()", "[1,2,[3],4]")]),
    f("zip", "zip(a, b) -> list", &[LIST, LIST], returns::pairs, list::zip).linear().is("Pairs of items, as many as the shorter has.", &[("zip([1, 2, 3], ['a', 'b'])", "[[1,\"a\"],[2,\"b\"]]")]),
    f("enumerate", "enumerate(list) -> list", &[ITEMS], returns::pairs, list::enumerate).linear().is("Pairs of place (from 0) and item.", &[("['a', 'b'].enumerate()", "[[0,\"a\"],[1,\"b\"]]")]),
    f("slice", "slice(list, a, b?) -> list", &[ITEMS, INT, INT], returns::items, list::slice).least(2).linear().from(CEL_EXT)
        .is("The items from a (counting from 0) to b (exclusive, or the end); past the end there is nothing.", &[("[1, 2, 3].slice(1, 3)", "[2,3]"), ("slice([1, 2], 1, 9)", "[2]")]),
    f("index_of", "index_of(list, x) -> int", &[LIST | TEXT, ANY], returns::int, list::index_of).linear()
        .is("The first place of an item, or of a part of a text; -1 where there is none.", &[("['a', 'b'].index_of('b')", "1"), ("'abc'.index_of('z')", "-1")]),
    f("first", "first(items) -> value", &[ITEMS], returns::first, list::first).is("The first item, or the record with the least key; null where there is none.", &[("first([3, 1])", "3"), ("first(sales).week", "1"), ("first([])", "null")]),
    f("last", "last(items) -> value", &[ITEMS], returns::first, list::last).is("The last item, or the record with the greatest key; null where there is none.", &[("[3, 1].last()", "1"), ("last(sales).week", "3")]),
    // maps
    f("keys", "keys(map) -> list", &[MAP | COLL], returns::keys, world::keys).linear().is("The keys in order, of a map or a collection.", &[("keys({'b': 1, 'a': 2})", "[\"a\",\"b\"]"), ("keys(sales)", "[1,2,3]")]),
    f("values", "values(map) -> list", &[MAP | COLL], returns::values, world::values).linear().is("The values in the order of their keys; the records of a collection.", &[("values({'b': 1, 'a': 2})", "[2,1]")]),
    f("merge", "merge(a, b) -> map", &[MAP, MAP], returns::merged, world::merge).linear().is("Both maps in one; where a key is in both, the second has it.", &[("merge({'a': 1, 'b': 1}, {'b': 2})", "{\"a\":1,\"b\":2}")]),
    f("get", "get(map, key, fallback) -> value", &[MAP | LIST | COLL | NULL, ANY, ANY], returns::get, world::get)
        .is("The value of a key, the item of a list or the record of a collection, or the fallback where it is not there.", &[("get({'a': 1}, 'b', 0)", "0"), ("sales.get(2, {}).units", "20")]),
    // collections
    f("where", "where(items, {field: value, …}) -> list", &[ITEMS, MAP], returns::items, world::where_)
        .is("The records whose fields equal the given ones, by index or key where there is one.", &[("where(sales, {'shop': 'a'}).map(s, s.week)", "[1,3]")]),
    f("count_by", "count_by(items, 'field') -> map", &[ITEMS, TEXT], returns::counts, world::count_by).fields(&[1])
        .is("How many records have each value of a field; those without the field, or with null there, are left out.", &[("count_by(sales, 'shop')", "{\"a\":2,\"b\":1}")]),
    f("sum_by", "sum_by(items, 'field', 'number') -> map", &[ITEMS, TEXT, TEXT], returns::sums, world::sum_by).fields(&[1, 2])
        .is("The sum of a number field for each value of a field.", &[("sales.sum_by('shop', 'units')", "{\"a\":40,\"b\":20}")]),
    f("group", "group(items, 'field') -> map", &[ITEMS, TEXT], returns::groups, world::group).fields(&[1])
        .is("The records for each value of a field, in key order.", &[("group(sales, 'shop')['b'].map(s, s.week)", "[2]")]),
    f("lift", "lift(items, by, b, a, success, trial) -> double or null", &[ITEMS, TEXT, ANY, ANY, ANY, ANY], returns::maybe_double, world::lift).fields(&[1])
        .from("relative lift of two rates: (success_b / trials_b) / (success_a / trials_a) − 1")
        .is("By how much the rate of variant b is above that of variant a (0.1 is a tenth); a record's field `type` says whether it is a success or a trial. Null where a variant has no trial or a no success.",
            &[("lift(events, 'variant', 'b', 'a', 'replied', 'sent')", "1.0")]),
    // time
    f("season", "season(week, amplitude = 0.35, phase = 13) -> double", &[NUM, NUM, NUM], returns::double, time::season).least(1).from("1 + amplitude · sin(2π · (week − phase) / 52)")
        .is("A smooth yearly index with mean 1 and a period of 52 weeks, greatest 13 weeks after `phase`.", &[("season(13)", "1.0"), ("season(26)", "1.35"), ("season(0, 0.5, 39)", "1.5")]),
    f("date", "date(moment) -> string", &[MOMENTS], returns::text, time::date).is("The day in UTC as YYYY-MM-DD.", &[("date(timestamp('2026-01-05T23:00:00Z'))", "\"2026-01-05\"")]),
    f("next_weekday", "next_weekday(moment, 'monday') -> string", &[MOMENTS, TEXT], returns::text, time::next_weekday).is("The first such day after that day, as YYYY-MM-DD.", &[("next_weekday('2026-01-05', 'monday')", "\"2026-01-12\""), ("next_weekday(timestamp('2026-01-05T10:00:00Z'), 'tue')", "\"2026-01-06\"")]),
    f("add_days", "add_days(moment, n) -> moment", &[MOMENTS, INT], returns::same_moment, time::add_days).is("So many days later: of a date's text a date's text, of a timestamp a timestamp.", &[("add_days('2026-02-27', 2)", "\"2026-03-01\""), ("add_days(timestamp('2026-01-05'), -1)", "\"2026-01-04T00:00:00Z\"")]),
    f("days_between", "days_between(a, b) -> int", &[MOMENTS, MOMENTS], returns::int, time::days_between).is("The days from the day of a to the day of b, UTC.", &[("days_between('2026-01-05', '2026-01-12')", "7")]),
    f("year", "year(moment) -> int", &[MOMENTS], returns::int, time::year).is("The year, UTC.", &[("year('2026-01-05')", "2026")]),
    f("month", "month(moment) -> int", &[MOMENTS], returns::int, time::month).is("The month from 1, UTC.", &[("month('2026-01-05')", "1")]),
    f("day", "day(moment) -> int", &[MOMENTS], returns::int, time::day).is("The day of the month from 1, UTC.", &[("day('2026-01-05')", "5")]),
    f("weekday", "weekday(moment) -> string", &[MOMENTS], returns::text, time::weekday).is("The day of the week, UTC.", &[("weekday('2026-01-05')", "\"monday\"")]),
    f("hour", "hour(timestamp) -> int", &[TIME], returns::int, time::hour).is("The hour from 0 to 23, UTC.", &[("hour(timestamp('2026-01-05T08:30:00Z'))", "8")]),
    // other
    f("coalesce", "coalesce(a, b, …) -> value", &[ANY], returns::coalesced, world::coalesce).variadic().plain()
        .is("The first value that is neither null nor absent (a field, key or record that is not there).", &[("coalesce(null, 2)", "2"), ("coalesce({'a': 1}['b'], 0)", "0"), ("coalesce(sales[9].units, 0)", "0")]),
    f("uuid", "uuid() -> string", &[], returns::text, world::uuid).is("A new id, derived from the run's seed and the place of the evaluation: the same in every replay.", &[("size(uuid())", "36")]),
];

/// The text of an argument whose kind has been checked.
fn as_text(value: &Value) -> Result<&str, EvalError> {
    value.as_str().ok_or_else(|| EvalError::new(format!("{} is no string", value.kind())))
}

/// The int of an argument whose kind has been checked.
fn as_int(value: &Value) -> Result<i64, EvalError> {
    match value {
        Value::Int(i) => Ok(*i),
        other => Err(EvalError::new(format!("{} is no int", other.kind()))),
    }
}

/// The number of an argument whose kind has been checked.
fn as_number(value: &Value) -> Result<f64, EvalError> {
    value.as_f64().ok_or_else(|| EvalError::new(format!("{} is no number", value.kind())))
}

/// The items of a list or the records of a collection.
fn items(value: &Value) -> Result<std::borrow::Cow<'_, [Value]>, EvalError> {
    match value {
        Value::List(items) => Ok(items.as_slice().into()),
        Value::Collection(c) => Ok(c.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>().into()),
        other => Err(EvalError::new(format!("{} has no items", other.kind()))),
    }
}
