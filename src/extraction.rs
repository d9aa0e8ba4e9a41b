//! Extracted parameters as people see, change and confirm them. Nothing starts from a reading nobody confirmed.

use std::io::{BufRead, Read};

use commedia_actors::extraction::Reading;
use commedia_domain::extraction::{By, Extracted, check_text, needs_confirmation};
use commedia_domain::scenario::{OnMissing, Scenario};
use commedia_domain::value::Value;
use serde_json::{Map as JsonMap, Value as Json, json};

use crate::failure::{Exit, Failure};
use crate::parameters;

/// The name of the document that `ask` prints.
pub const SCHEMA: &str = "commedia.extraction/v1";
/// Questions to one person at most.
const MAX_QUESTIONS: usize = 100;
/// Characters of a quote in a table.
const MAX_QUOTE: usize = 40;

/// A text as it is given: the argument, or standard input for `-`. Refused where it is too long or no text.
pub fn text(given: &str, stdin: &mut dyn BufRead) -> Result<String, Failure> {
    let text = if given == "-" {
        let mut bytes = Vec::new();
        let bound = commedia_domain::extraction::MAX_TEXT_BYTES as u64 + 1;
        stdin.take(bound).read_to_end(&mut bytes).map_err(|e| Failure::usage(format!("standard input cannot be read: {e}")))?;
        if bytes.len() as u64 == bound {
            return Err(Failure::invalid(format!("the text is longer than the {} bytes that are read", bound - 1)));
        }
        String::from_utf8(bytes).map_err(|_| Failure::invalid("standard input is not UTF-8 text"))?
    } else {
        given.to_owned()
    };
    check_text(&text).map_err(Failure::invalid)?;
    Ok(text)
}

fn value_json(value: Option<&Value>) -> Json {
    value.map_or(Json::Null, Value::to_json)
}

/// A reading as programs see it.
pub fn to_json(scenario: &Scenario, reading: &Reading) -> Json {
    let one = |e: &Extracted| {
        let mut json = json!({
            "value": value_json(e.value.as_ref()),
            "text": e.text,
            "confidence": e.confidence,
            "defaulted": e.defaulted,
            "ambiguous": e.ambiguous,
            "by": e.by.word(),
        });
        if !e.readings.is_empty() {
            json["readings"] = e.readings.iter().map(Value::to_json).collect();
        }
        if let Some(why) = &e.why {
            json["why"] = why.as_str().into();
        }
        (e.name.to_string(), json)
    };
    let parameters: JsonMap<String, Json> = reading.parameters.iter().map(one).collect();
    json!({
        "schema": SCHEMA,
        "scenario": &*scenario.name,
        "extraction_id": reading.id,
        "needs_confirmation": needs_confirmation(&scenario.extraction, &reading.parameters),
        "parameters": parameters,
    })
}

/// A reading as a server told it, the other way round.
pub fn of_json(scenario: &Scenario, told: &Json) -> Result<Vec<Extracted>, Failure> {
    let one = |(name, json): (&String, &Json)| {
        let by = if json["by"] == By::Model.word() { By::Model } else { By::Rules };
        let parameter = scenario.parameters.iter().find(|p| *p.name == **name)?;
        let (defaulted, ambiguous) = (json["defaulted"].as_bool()?, json["ambiguous"].as_bool()?);
        // `null` is a value where it was said, or may be one.
        let is_none = json["value"].is_null() && (defaulted || ambiguous) && parameter.default.is_none();
        Some(Extracted {
            name: parameter.name.clone(),
            value: (!is_none).then(|| Value::from_json(&json["value"])),
            default: None,
            text: json["text"].as_str()?.to_owned(),
            confidence: json["confidence"].as_f64()?,
            defaulted,
            ambiguous,
            readings: json["readings"].as_array().into_iter().flatten().map(Value::from_json).collect(),
            why: json["why"].as_str().map(str::to_owned),
            by,
        })
    };
    let found: Option<Vec<Extracted>> = told["parameters"].as_object().into_iter().flatten().map(one).collect();
    found.filter(|found| found.len() == scenario.parameters.len()).ok_or_else(|| {
        Failure::new(Exit::Server, "what the server read does not fit the scenario here").help("its version may be another one's")
    })
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "-".into(),
        Some(Value::Text(text)) => text.to_string(),
        Some(value) => value.to_json().to_string(),
    }
}

/// A reading as people see it: parameter, value, the words, how sure, by whom; below it what is not settled.
pub fn to_table(found: &[Extracted]) -> String {
    let words = |e: &Extracted| {
        let text: String = e.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = text.chars().take(MAX_QUOTE).collect();
        match () {
            () if e.defaulted => "(default)".into(),
            () if cut.len() < text.len() => format!("“{cut}…”"),
            () => format!("“{cut}”"),
        }
    };
    let mut rows = vec![["parameter", "value", "words", "confidence", "by"].map(str::to_owned)];
    for e in found {
        let mark = if e.ambiguous { " (?)" } else { "" };
        let value = format!("{}{mark}", shown(e.value.as_ref()));
        rows.push([e.name.to_string(), value, words(e), format!("{:.2}", e.confidence), e.by.word().to_owned()]);
    }
    let width = |n: usize| rows.iter().map(|r| r[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, w)| format!("{cell}{}", " ".repeat(w - cell.chars().count())));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    for e in found.iter().filter(|e| e.ambiguous) {
        let why = e.why.as_deref().unwrap_or("it is not settled");
        let readings: Vec<String> = e.readings.iter().map(|v| shown(Some(v))).collect();
        let readings = if readings.is_empty() { String::new() } else { format!("; it can be {}", readings.join(" or ")) };
        out.push_str(&format!("(?) {}: {why}{readings}\n", e.name));
    }
    out
}

/// Puts values a person gave by name in the place of what was read.
pub fn overrule(found: &mut [Extracted], given: &[(String, Value)]) {
    for (name, value) in given {
        for e in found.iter_mut().filter(|e| *e.name == **name) {
            e.value = Some(value.clone());
            e.text = format!("{name}=…");
            (e.confidence, e.defaulted, e.ambiguous) = (1.0, false, false);
            (e.readings, e.why) = (Vec::new(), None);
        }
    }
}

/// The values to start with: what was read. Defaults are left to the run.
pub fn values(found: &[Extracted]) -> Vec<(String, Value)> {
    let said = found.iter().filter(|e| !e.defaulted && !e.ambiguous);
    said.filter_map(|e| Some((e.name.to_string(), e.value.clone()?))).collect()
}

/// Who can be asked.
pub enum Person<'p> {
    /// Somebody at a terminal: where they write, and how they are told.
    There(&'p mut dyn BufRead, &'p dyn Fn(&str)),
    /// Nobody; they said yes before.
    SaidYes,
    /// Nobody.
    Nobody,
}

/// Confirms a reading, as the scenario and the person want it. What comes back is what may start.
pub fn confirm(scenario: &Scenario, found: Vec<Extracted>, person: Person<'_>) -> Result<Vec<Extracted>, Failure> {
    let rules = &scenario.extraction;
    let missing = found.iter().find(|e| e.defaulted && rules.on_missing == OnMissing::Fail);
    if let Some(e) = missing {
        let message = format!("nothing is said of parameter `{}`, and the scenario wants each to be said", e.name);
        return Err(Failure::invalid(message).help(format!("say it, or add `--set {}=…`", e.name)));
    }
    let asks = needs_confirmation(rules, &found);
    match person {
        Person::There(input, tell) if asks => ask(scenario, found, input, tell),
        Person::Nobody if asks => Err(Failure::invalid("these parameters are not confirmed, and there is no terminal to ask at")
            .help("`--yes` takes them as they are read; `commedia ask` shows them")),
        _ => settled(found, rules.min_confidence),
    }
}

/// Refuses what nobody looked at and is not settled or not sure.
fn settled(found: Vec<Extracted>, min_confidence: f64) -> Result<Vec<Extracted>, Failure> {
    let Some(e) = found.iter().find(|e| !e.stands(min_confidence)) else { return Ok(found) };
    let why = match () {
        () if e.ambiguous => format!("is ambiguous: {}", e.why.as_deref().unwrap_or("it is not settled")),
        () if e.value.is_none() => "has no value and no default".into(),
        () => format!("was read with a confidence of {:.2}, below {min_confidence:.2}", e.confidence),
    };
    let words = if e.text.is_empty() { String::new() } else { format!(" (“{}”)", e.text) };
    Err(Failure::invalid(format!("parameter `{}` {why}{words}", e.name)).help(format!("say which with `--set {}=…`", e.name)))
}

fn ask(
    scenario: &Scenario,
    mut found: Vec<Extracted>,
    input: &mut dyn BufRead,
    tell: &dyn Fn(&str),
) -> Result<Vec<Extracted>, Failure> {
    for _ in 0..MAX_QUESTIONS {
        tell(to_table(&found).trim_end());
        tell("y starts, NAME=VALUE changes a value, n stops:");
        let mut line = String::new();
        let read = input.take(64 * 1024).read_line(&mut line);
        let stopped = || Failure::new(Exit::Cancelled, "nothing was started");
        if read.map_err(|e| Failure::usage(format!("the answer cannot be read: {e}")))? == 0 {
            return Err(stopped());
        }
        match line.trim() {
            "y" | "yes" => match found.iter().find(|e| e.value.is_none()) {
                None => return Ok(found),
                Some(e) => tell(&format!("`{}` has no value yet", e.name)),
            },
            "n" | "no" | "q" | "quit" => return Err(stopped()),
            "" => {}
            change => match changed(scenario, change) {
                Ok(given) => overrule(&mut found, &[given]),
                Err(why) => tell(&why),
            },
        }
    }
    Err(Failure::new(Exit::Cancelled, "nothing was started: there were too many answers without a yes or no"))
}

/// `name=value` of a person, checked against the parameter's schema.
fn changed(scenario: &Scenario, change: &str) -> Result<(String, Value), String> {
    let (name, text) = parameters::split(change)?;
    let Some(parameter) = scenario.parameters.iter().find(|p| *p.name == *name) else {
        let names: Vec<&str> = scenario.parameters.iter().map(|p| &*p.name).collect();
        return Err(format!("there is no parameter `{name}`; there are `{}`", names.join("`, `")));
    };
    let value = parameters::typed(scenario, &name, &text).map_err(|e| e.message)?;
    let admitted = parameter.schema.admit(&value);
    let fault = |v: Vec<commedia_domain::schema::Violation>| v.into_iter().map(|v| v.message).collect::<Vec<_>>().join("; ");
    admitted.map(|v| (name.clone(), v)).map_err(|v| format!("`{name}`: {}", fault(v)))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use super::*;
    use commedia_domain::extraction::Extractor;
    use commedia_domain::scenario::{NoFiles, load};

    fn scenario(extraction: &str) -> Arc<Scenario> {
        let source = format!(
            "name: s\nparameters:\n  weeks: {{type: integer, minimum: 1, maximum: 52, default: 12, unit: week}}\n  \
             start: {{type: string, format: date, default: 2026-01-05}}\nextraction: {{{extraction}}}\nagents: {{a: {{kind: rules, rules: []}}}}\n"
        );
        let loaded = load("s.yaml", source.as_bytes(), &NoFiles).map_err(|d| d[0].to_string()).expect("a scenario");
        Arc::new(loaded.scenario)
    }

    fn found(scenario: &Arc<Scenario>, text: &str) -> Vec<Extracted> {
        Extractor::new(scenario.clone()).extract(text, "2026-01-14".parse().expect("a date"))
    }

    /// What starts after a person's answers, as `name=value`; or the exit code and the words.
    fn check(extraction: &str, text: &str, person: Option<&str>, expect: Result<&str, (Exit, &str)>) {
        let scenario = scenario(extraction);
        let mut input = person.unwrap_or_default().as_bytes();
        let told = RefCell::new(String::new());
        let tell = |line: &str| told.borrow_mut().push_str(line);
        let person = match person {
            None => Person::Nobody,
            Some("--yes") => Person::SaidYes,
            Some(_) => Person::There(&mut input, &tell),
        };
        let said = confirm(&scenario, found(&scenario, text), person).map(|found| {
            let all = values(&found).into_iter().map(|(n, v)| format!("{n}={}", shown(Some(&v))));
            all.collect::<Vec<_>>().join(" ")
        });
        match (said, expect) {
            (Ok(said), Ok(expect)) => assert_eq!(said, expect, "{text}"),
            (Err(failure), Err((exit, words))) => {
                assert_eq!(failure.exit, exit, "{text}: {failure}");
                assert!(failure.to_string().contains(words), "{text}: {failure}");
            }
            (said, expect) => panic!("{text}: {said:?}, not {expect:?}; told: {}", told.borrow()),
        }
    }

    #[test]
    fn nothing_starts_unconfirmed() {
        check("confirm: always", "14 weeks", None, Err((Exit::Invalid, "--yes")));
        check("confirm: always", "14 weeks", Some("--yes"), Ok("weeks=14"));
        check("confirm: always", "12 to 14 weeks", Some("--yes"), Err((Exit::Invalid, "--set weeks=")));
        check("confirm: always", "14 weeks", Some("y\n"), Ok("weeks=14"));
        check("confirm: always", "14 weeks", Some("n\n"), Err((Exit::Cancelled, "nothing was started")));
        check("confirm: always", "14 weeks", Some(""), Err((Exit::Cancelled, "nothing was started")));
        check("confirm: when_ambiguous", "14 weeks", None, Ok("weeks=14"));
        check("confirm: when_ambiguous", "12 to 14 weeks", None, Err((Exit::Invalid, "not confirmed")));
        check("confirm: never", "12 to 14 weeks", None, Err((Exit::Invalid, "--set weeks=")));
        check("confirm: never, min_confidence: 0.99", "14 weeks", None, Err((Exit::Invalid, "below 0.99")));
        check("confirm: never, on_missing: fail", "14 weeks", None, Err((Exit::Invalid, "--set start=")));
        check("confirm: when_ambiguous, on_missing: ask", "14 weeks", None, Err((Exit::Invalid, "not confirmed")));
    }

    #[test]
    fn what_a_server_told_is_read_as_it_was() {
        let scenario = scenario("confirm: always");
        for text in ["14 weeks from 2 March", "12 to 14 weeks", "soon"] {
            let (parameters, id) = (found(&scenario, text), String::new());
            let reading = Reading { id, parameters, fallback: None };
            let again = of_json(&scenario, &to_json(&scenario, &reading)).expect("fits");
            let without =
                |found: &[Extracted]| found.iter().map(|e| Extracted { default: None, ..e.clone() }).collect::<Vec<_>>();
            assert_eq!(again, without(&reading.parameters), "{text}");
        }
        assert_eq!(of_json(&scenario, &json!({"parameters": {"weeks": {}}})).map_err(|f| f.exit), Err(Exit::Server));
    }

    #[test]
    fn a_person_changes_values_before_the_start() {
        check("confirm: always", "12 to 14 weeks", Some("weeks=13\ny\n"), Ok("weeks=13"));
        check("confirm: always", "14 weeks", Some("weeks=60\nfoo=1\nstart=2026-03-02\ny\n"), Ok("weeks=14 start=2026-03-02"));
    }

    #[test]
    fn a_text_is_bounded_and_has_no_control_characters() {
        let read = |given: &str, mut input: &[u8]| text(given, &mut input);
        assert_eq!(read("-", b"14 weeks").ok().as_deref(), Some("14 weeks"));
        assert!(read("-", &vec![b'x'; 16 * 1024]).is_ok() && read("-", &vec![b'x'; 16 * 1024 + 1]).is_err());
        for bad in ["a\u{0}b", "a\u{1b}[2Jb", &"x".repeat(16 * 1024 + 1)] {
            assert_eq!(read(bad, b"").map_err(|f| f.exit), Err(Exit::Invalid));
        }
    }
}
