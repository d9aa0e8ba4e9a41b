//! How parameters are read from language: `extraction`, and `extract` of each parameter.

use super::Compiler;
use crate::scenario::document::ScenarioDoc;
use crate::scenario::faults::{shorten, suggestion};
use crate::scenario::node::{Kind, Node};
use crate::scenario::scalars::{self, Text};
use crate::scenario::words::{Confirm as ConfirmDoc, OnMissing as OnMissingDoc, ReadsDoc};
use crate::scenario::{Confirm, Extract, Extraction, OnMissing, Reads, Schema};
use crate::value::Value;

/// The fields of `extract`.
const FIELDS: [&str; 9] = ["synonyms", "examples", "accept", "reads", "cues", "not", "rest", "of", "from"];

impl Compiler<'_> {
    pub(super) fn extract(&mut self, doc: &ScenarioDoc, name: &str, extract: &Node, schema: &Schema, block: &Node) -> Extract {
        let Some(mut fields) = self.fields(extract, &FIELDS) else { return Extract::default() };
        let synonyms: Option<scalars::RawMap> = fields.take("synonyms", Some(None), &mut self.faults);
        let _: Option<Vec<Text>> = fields.take("accept", Some(None), &mut self.faults);
        let examples: Option<scalars::RawMap> = fields.take("examples", Some(None), &mut self.faults);
        let reads: Option<ReadsDoc> = fields.take("reads", Some(None), &mut self.faults);
        let mut list = |field: &'static str| -> Vec<String> {
            let texts: Option<Vec<Text>> = fields.take(field, Some(None), &mut self.faults);
            texts.into_iter().flatten().map(|t| t.it.to_string()).collect()
        };
        let (cues, not, rest) = (list("cues"), list("not"), list("rest"));
        let of: Option<Text> = fields.take("of", Some(None), &mut self.faults);
        let from: Option<Text> = fields.take("from", Some(None), &mut self.faults);
        for other in of.iter().chain(&from) {
            let known: Vec<&str> = doc.parameters.iter().map(|(key, _)| &*key.text).collect();
            if !known.contains(&&*other.it) {
                let help = suggestion(&other.it, "parameters", known.iter().copied());
                let message = format!("there is no parameter `{}`", shorten(&other.it));
                self.faults.error("unknown_parameter", other.at, message).maybe_help(help);
            }
        }
        let examples = examples.iter().flat_map(|s| s.0.entries());
        let examples = examples.map(|(text, value)| {
            (text.text.to_string(), self.checked(value, schema, &format!("an example of `{name}`"), "example_out_of_range"))
        });
        let examples = examples.collect();
        Extract {
            reads: reads.map(reads_of),
            synonyms: synonyms.iter().flat_map(|s| self.synonyms(name, &s.0, schema, block)).collect(),
            examples,
            cues,
            not,
            rest,
            of: of.map(|t| t.it.to_string()),
            from: from.map(|t| t.it.to_string()),
        }
    }

    fn synonyms(&mut self, name: &str, node: &Node, schema: &Schema, block: &Node) -> Vec<(Value, Vec<String>)> {
        let words =
            block.get("enum").map(|e| e.items().iter().filter_map(|i| i.scalar().map(|s| s.text.clone())).collect::<Vec<_>>());
        let mut all = Vec::new();
        for (key, value) in node.entries() {
            if let Some(words) = &words
                && !words.contains(&key.text)
            {
                let help = suggestion(&key.text, "values", words.iter().map(|w| &**w));
                let message = format!("`{}` is no value of `{name}`, so it can have no synonyms", shorten(&key.text));
                self.faults.error("unknown_value", key.at, message).maybe_help(help);
            }
            let texts: Option<Vec<String>> = match &value.kind {
                Kind::List(items) => items.iter().map(|i| i.scalar().map(|s| s.text.to_string())).collect(),
                _ => value.as_text().map(|t| vec![t.to_string()]),
            };
            match texts {
                Some(texts) => all.push((schema.read(&key.text).unwrap_or_else(|_| Value::text(&*key.text)), texts)),
                None => {
                    self.faults.error("wrong_type", value.at, format!("synonyms are a list of texts, found {}", value.shown()));
                }
            }
        }
        all
    }

    pub(super) fn extraction(&mut self, doc: &ScenarioDoc) -> Extraction {
        let Some(extraction) = &doc.extraction else { return Extraction::default() };
        Extraction {
            model: extraction.model.as_ref().and_then(|model| self.model(model)),
            confirm: match extraction.confirm {
                ConfirmDoc::Always => Confirm::Always,
                ConfirmDoc::WhenAmbiguous => Confirm::WhenAmbiguous,
                ConfirmDoc::Never => Confirm::Never,
            },
            min_confidence: extraction.min_confidence.it,
            on_missing: match extraction.on_missing {
                OnMissingDoc::Default => OnMissing::Default,
                OnMissingDoc::Ask => OnMissing::Ask,
                OnMissingDoc::Fail => OnMissing::Fail,
            },
        }
    }
}

fn reads_of(word: ReadsDoc) -> Reads {
    match word {
        ReadsDoc::Length => Reads::Length,
        ReadsDoc::Position => Reads::Position,
        ReadsDoc::Date => Reads::Date,
        ReadsDoc::Rhythm => Reads::Rhythm,
        ReadsDoc::Share => Reads::Share,
        ReadsDoc::Number => Reads::Number,
        ReadsDoc::Choice => Reads::Choice,
    }
}
