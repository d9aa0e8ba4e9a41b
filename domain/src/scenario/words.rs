//! Closed lists of words, and parts of the document that may be written in several ways.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::decode::{Decode, Defs, choice, record, word, wrong_type};
use super::document::{HandoffDoc, RuleDoc};
use super::faults::{Faults, Place, shorten};
use super::node::{Kind, Node};
use super::scalars::{Cel, Text};
use super::{AgentKind, Carry, ClockMode, Comparison, Goal, MetricAt, OnDelete, OnExceed, OnExhausted, Overflow, Step};

/// Declares closed lists of words that only the document knows.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($word:literal $variant:ident),* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $(#[doc = $word] $variant),* }
        choice! { $name { $($word => $name::$variant),* } }
    )*};
}

words! {
    /// When a person confirms extracted parameters.
    Confirm { "always" Always, "when_ambiguous" WhenAmbiguous, "never" Never }
    /// What happens to a parameter nothing was said about.
    OnMissing { "default" Default, "ask" Ask, "fail" Fail }
    /// What kind of quantity a parameter reads.
    ReadsDoc { "length" Length, "position" Position, "date" Date, "rhythm" Rhythm, "share" Share, "number" Number, "choice" Choice }
    /// Where a collection lives.
    WorldScope { "run" Run, "workspace" Workspace }
    /// A provider's interface.
    ApiKind { "responses" Responses, "chat" Chat }
    /// Kinds of tools.
    ToolKindDoc { "expr" Expr, "state" State, "message" Message, "builtin" Builtin, "http" Http, "mcp" Mcp }
    /// How often a tool may be performed.
    EffectDoc { "read" Read, "idempotent" Idempotent, "effect" Effect }
    /// Methods of HTTP.
    HttpMethod { "GET" Get, "POST" Post, "PUT" Put, "PATCH" Patch, "DELETE" Delete }
    /// Kinds of guardrails.
    GuardrailKindDoc { "expr" Expr, "regex" Regex, "llm" Llm }
    /// What happens to an approval nobody decides.
    OnTimeout { "approve" Approve, "reject" Reject, "fail" Fail, "pause" Pause }
    /// Seeds of a sweep.
    Seeds { "common" Common, "independent" Independent }
    /// Who approves in a sweep.
    SweepApprovals { "auto" Auto, "reject" Reject, "scripted" Scripted }
    /// How a model fails.
    ModelError { "429" TooMany, "500" Server, "timeout" Timeout, "malformed" Malformed, "truncated" Truncated }
    /// What happens to a message.
    MessageEffect { "drop" Drop, "duplicate" Duplicate, "delay" Delay }
}

choice! {
    ClockMode { "simulated" => ClockMode::Simulated, "real" => ClockMode::Real }
    Carry { "full" => Carry::Full, "last" => Carry::Last, "summary" => Carry::Summary, "none" => Carry::None }
    OnDelete { "restrict" => OnDelete::Restrict, "cascade" => OnDelete::Cascade, "set_null" => OnDelete::SetNull }
    OnExceed { "fail" => OnExceed::Fail, "pause" => OnExceed::Pause, "fallback" => OnExceed::Fallback }
    OnExhausted { "quarantine" => OnExhausted::Quarantine, "fail_run" => OnExhausted::FailRun, "fallback" => OnExhausted::Fallback }
    Overflow { "fail_run" => Overflow::FailRun, "refuse" => Overflow::Refuse }
    MetricAt { "end" => MetricAt::End, "tick" => MetricAt::Tick }
    Goal { "maximize" => Goal::Maximize, "minimize" => Goal::Minimize }
    super::GuardrailThen {
        "reject" => super::GuardrailThen::Reject, "retry" => super::GuardrailThen::Retry,
        "escalate" => super::GuardrailThen::Escalate, "fail" => super::GuardrailThen::Fail,
    }
}

/// `kind` of an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgentKindDoc {
    /// Where.
    pub(crate) at: Place,
    /// Which.
    pub(crate) it: AgentKind,
}

choice! { AgentKind { "llm" => AgentKind::Llm, "rules" => AgentKind::Rules, "human" => AgentKind::Human } }

impl Decode for AgentKindDoc {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let text = node.as_text().map(|t| &**t);
        if let Some(word @ ("stochastic" | "script" | "population" | "scripted")) = text {
            faults
                .error("unknown_value", node.at, format!("`{word}` is not a kind of agent"))
                .help("agents with `draws` and `rules` are of `kind: rules` (one of `llm`, `rules`, `human`)");
            return AgentKindDoc { at: node.at, it: AgentKind::Rules };
        }
        AgentKindDoc { at: node.at, it: AgentKind::decode(node, faults) }
    }
    fn broken() -> Self {
        AgentKindDoc { at: Place::default(), it: AgentKind::Rules }
    }
    fn encode(&self) -> Option<Json> {
        self.it.encode()
    }
    fn schema(defs: &mut Defs) -> Json {
        AgentKind::schema(defs)
    }
}

macro_rules! constant {
    ($($(#[$doc:meta])* $name:ident $word:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;
        impl Decode for $name {
            fn decode(node: &Node, faults: &mut Faults) -> Self {
                word(node, &[$word], faults);
                $name
            }
            fn broken() -> Self {
                $name
            }
            fn encode(&self) -> Option<Json> {
                Some($word.into())
            }
            fn schema(_: &mut Defs) -> Json {
                json!({"const": $word})
            }
        }
    )*};
}

constant! {
    /// `apiVersion`.
    ApiVersion "commedia/v1";
    /// `kind` of the document.
    DocKind "Scenario";
}

/// A block that may be written as a name alone.
pub(crate) trait FromName: Decode {
    /// The block with this name.
    fn named(name: Text) -> Self;
}

/// A name, or a block.
#[derive(Clone, Debug)]
pub(crate) struct OrName<T>(pub(crate) T);

impl<T: FromName> Decode for OrName<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        OrName(match &node.kind {
            Kind::Scalar(_) => T::named(Text::decode(node, faults)),
            _ => T::decode(node, faults),
        })
    }
    fn broken() -> Self {
        OrName(T::broken())
    }
    fn encode(&self) -> Option<Json> {
        self.0.encode()
    }
    fn schema(defs: &mut Defs) -> Json {
        json!({"anyOf": [{"type": "string"}, T::schema(defs)]})
    }
}

impl FromName for HandoffDoc {
    fn named(to: Text) -> Self {
        HandoffDoc { at: to.at, to, ..HandoffDoc::broken() }
    }
}

record! {
    /// Which ticks an agent handles.
    TicksDoc {
        /// Where this is false, a replica passes the tick by: no turn, no draw.
        "where" where_: Cel;
    }
}

/// What an agent subscribes to, each with the condition under which a message makes a turn.
#[derive(Clone, Debug)]
pub(crate) enum HandleDoc {
    /// Every tick.
    Tick(Option<Cel>),
    /// Words of a person.
    User,
    /// Tells of a type.
    Tell(Text, Option<Cel>),
    /// Writes to a collection.
    Record(Text, Option<Cel>),
    /// Something about which a fault was told.
    Broken,
}

impl Decode for HandleDoc {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        if matches!(node.kind, Kind::Map(_)) {
            let known = &["tick", "tell", "record", "where"];
            let Some(mut fields) = super::decode::Fields::of(node, known, faults) else { return HandleDoc::Broken };
            let tick: Option<TicksDoc> = fields.take("tick", Some(None), faults);
            let tell: Option<Text> = fields.take("tell", Some(None), faults);
            let record: Option<Text> = fields.take("record", Some(None), faults);
            let where_: Option<Cel> = fields.take("where", Some(None), faults);
            return match (tick, tell, record, where_) {
                (Some(tick), None, None, None) => HandleDoc::Tick(Some(tick.where_)),
                (None, Some(tell), None, where_) => HandleDoc::Tell(tell, where_),
                (None, None, Some(record), where_) => HandleDoc::Record(record, where_),
                _ => {
                    faults.error(
                        "wrong_shape",
                        node.at,
                        "an entry of `handles` is one of `tick`, `user`, `{tick: {where: …}}`, `{tell: type}`, `{record: collection}`; \
                         the last two may have a `where` beside them",
                    );
                    HandleDoc::Broken
                }
            };
        }
        match word(node, &["tick", "user"], faults) {
            Some("tick") => HandleDoc::Tick(None),
            Some(_) => HandleDoc::User,
            None => HandleDoc::Broken,
        }
    }
    fn broken() -> Self {
        HandleDoc::Broken
    }
    fn encode(&self) -> Option<Json> {
        let with = |key: &str, name: &Text, where_: &Option<Cel>| match where_.as_ref().and_then(Decode::encode) {
            Some(where_) => json!({key: &*name.it, "where": where_}),
            None => json!({key: &*name.it}),
        };
        Some(match self {
            HandleDoc::Tick(None) => "tick".into(),
            HandleDoc::Tick(Some(where_)) => json!({"tick": {"where": where_.encode()?}}),
            HandleDoc::User => "user".into(),
            HandleDoc::Tell(t, where_) => with("tell", t, where_),
            HandleDoc::Record(c, where_) => with("record", c, where_),
            HandleDoc::Broken => return None,
        })
    }
    fn schema(defs: &mut Defs) -> Json {
        let (cel, ticks) = (Cel::schema(defs), TicksDoc::schema(defs));
        let one = |key: &str, of: Json, where_: Option<&Json>| {
            let mut properties = serde_json::Map::from_iter([(key.to_owned(), of)]);
            properties.extend(where_.map(|w| ("where".to_owned(), w.clone())));
            json!({"type": "object", "required": [key], "properties": properties, "additionalProperties": false})
        };
        let name = || json!({"type": "string"});
        json!({"anyOf": [
            {"enum": ["tick", "user"]},
            one("tick", ticks, None),
            one("tell", name(), Some(&cel)),
            one("record", name(), Some(&cel)),
        ]})
    }
}

record! {
    /// Rules that answer a whole turn where the model cannot.
    FallbackRulesDoc {
        /// The rules; the first that matches wins.
        "rules" rules: Vec<RuleDoc> = Vec::new();
    }
}

/// Who answers where the model cannot.
#[derive(Clone, Debug)]
pub(crate) enum FallbackDoc {
    /// The stub.
    Stub,
    /// Rules.
    Rules(FallbackRulesDoc),
}

impl Decode for FallbackDoc {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        if let Kind::Map(_) = &node.kind {
            return FallbackDoc::Rules(FallbackRulesDoc::decode(node, faults));
        }
        word(node, &["stub"], faults);
        FallbackDoc::Stub
    }
    fn broken() -> Self {
        FallbackDoc::Stub
    }
    fn encode(&self) -> Option<Json> {
        match self {
            FallbackDoc::Stub => Some("stub".into()),
            FallbackDoc::Rules(rules) => rules.encode(),
        }
    }
    fn schema(defs: &mut Defs) -> Json {
        json!({"anyOf": [{"const": "stub"}, FallbackRulesDoc::schema(defs)]})
    }
}

/// A comparison with a number, such as `< 0.2`.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// As written.
    pub(crate) text: Arc<str>,
    /// How to compare.
    pub(crate) op: Comparison,
    /// With what.
    pub(crate) number: f64,
}

impl Decode for Bound {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let text = node.as_text().map_or("", |t| t.trim());
        let ops = [
            ("<=", Comparison::Le),
            (">=", Comparison::Ge),
            ("==", Comparison::Eq),
            ("<", Comparison::Lt),
            (">", Comparison::Gt),
        ];
        let found = ops.into_iter().find_map(|(sign, op)| text.strip_prefix(sign).map(|rest| (op, rest.trim())));
        if let Some((op, rest)) = found
            && rest.len() < 40
            && let Ok(number) = rest.parse::<f64>()
            && number.is_finite()
        {
            return Bound { text: text.into(), op, number };
        }
        let path = faults.path();
        let message = format!("`{path}` must be a comparison with a number, found {}", node.shown());
        faults
            .error("bad_comparison", node.at, message)
            .help(format!("such as \"< 0.2\" or \">= 3\", found `{}`", shorten(text)));
        Self::broken()
    }
    fn broken() -> Self {
        Bound { text: "< 0".into(), op: Comparison::Lt, number: 0.0 }
    }
    fn encode(&self) -> Option<Json> {
        Some(Json::from(&*self.text))
    }
    fn schema(_: &mut Defs) -> Json {
        json!({"type": "string", "pattern": r"^\s*(<=|>=|==|<|>)\s*[-+0-9.eE]+\s*$"})
    }
}

/// Run time or wall time, as in `faults`.
#[derive(Clone, Debug)]
pub(crate) struct EitherTime(Arc<str>);

impl EitherTime {
    /// As wall time, milliseconds.
    pub(crate) fn ms(&self) -> u64 {
        let run_time = || super::time::step(&self.0).ok().and_then(|step| u64::try_from(step.ms).ok());
        super::time::wall(&self.0).ok().or_else(run_time).unwrap_or(0)
    }

    /// As run time.
    pub(crate) fn step(&self) -> Step {
        let ms = || i64::try_from(self.ms()).unwrap_or(i64::MAX);
        super::time::step(&self.0).unwrap_or_else(|_| Step { months: 0, ms: ms() })
    }
}

impl Decode for EitherTime {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let Some(text) = node.as_text() else {
            wrong_type(node, "a duration such as `2s` or `PT1H`", faults);
            return Self::broken();
        };
        if super::time::wall(text).is_err() && super::time::step(text).is_err() {
            let message = format!("`{}` is no duration: `{}`", faults.path(), shorten(text));
            faults.error("bad_duration", node.at, message).help("`200ms`, `2s`, `1h`, or ISO 8601 such as `PT1H`");
        }
        EitherTime(text.clone())
    }
    fn broken() -> Self {
        EitherTime("1s".into())
    }
    fn encode(&self) -> Option<Json> {
        Some(Json::from(&*self.0))
    }
    fn schema(_: &mut Defs) -> Json {
        json!({"type": "string"})
    }
}
