//! Scenarios that can be run here, documents to be looked at, and parameters in a person's own words.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use commedia_actors::catalogue::{CatalogueError, Version};
use commedia_actors::extraction::{Reader, read};
use commedia_actors::runtime::Runtime;
use commedia_domain::diagnostic::{Diagnostic, Severity};
use commedia_domain::extraction::{Extractor, check_text};
use commedia_domain::scenario::{NoFiles, Scenario};
use commedia_domain::value::timestamp_text;
use http::{StatusCode, header};
use serde_json::{Value as Json, json};

use super::Api;
use super::exchange::{Answer, Asked, Handled};
use super::openapi;
use super::problem::{Fault, Problem};
use super::wire::{Document, Extract, Object, ParameterView, ScenarioView, ScenariosPage, Validated, VersionView, VersionsPage};
use crate::bundle;
use crate::day;
use crate::diagnostics::{self, Texts};
use crate::models::{self, Wanted};
use crate::packs::{self, Pack};
use crate::source::{Folder, Source};

/// The types of a scenario's body.
pub(crate) const KINDS: &[&str] = &["application/yaml", "application/json", "application/gzip"];

/// The scenarios that come with the program, compiled when first wanted.
#[derive(Default)]
pub(crate) struct Packs(Mutex<HashMap<&'static str, Arc<Scenario>>>);

impl Packs {
    fn get(&self, pack: &Pack) -> Result<Arc<Scenario>, Problem> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scenario) = known.get(pack.name) {
            return Ok(scenario.clone());
        }
        let loaded = Source::pack(pack).load();
        let loaded = loaded.map_err(|faults| Problem::internal(faults.first().map_or_else(String::new, ToString::to_string)))?;
        let scenario = Arc::new(loaded.scenario);
        known.insert(pack.name, scenario.clone());
        Ok(scenario)
    }
}

/// A scenario that was asked for.
pub(crate) struct Found {
    pub(crate) scenario: Arc<Scenario>,
    about: Cow<'static, str>,
    /// Which one of the workspace's own.
    version: Option<u64>,
}

impl Found {
    fn view(&self) -> ScenarioView {
        view(&self.about, &self.scenario, self.version)
    }
}

/// A scenario by `NAME` or `NAME@VERSION`: one that comes with the program, or the workspace's own.
pub(crate) async fn find(api: &Api, runtime: &Runtime, word: &str) -> Result<Found, Problem> {
    let unknown = || Problem::not_found(format!("there is no scenario `{word}`; GET /api/scenarios lists them"));
    let (name, number) = match word.split_once('@') {
        Some((name, number)) => (name, Some(number.parse::<u64>().map_err(|_| unknown())?)),
        None => (word, None),
    };
    if let Some(pack) = packs::find(name) {
        let scenario = api.packs.get(pack)?;
        let found = Found { about: pack.about.into(), scenario, version: None };
        return if number.unwrap_or(1) == 1 { Ok(found) } else { Err(unknown()) };
    }
    match runtime.scenario(name, number).await {
        Ok((version, scenario)) => Ok(Found { about: version.about.into(), scenario, version: Some(version.number) }),
        Err(CatalogueError::Unknown(_)) => Err(unknown()),
        Err(e) => Err(e.into()),
    }
}

fn view(about: &str, scenario: &Scenario, version: Option<u64>) -> ScenarioView {
    let fields = |json: &Json| json.as_object().cloned().unwrap_or_default();
    let parameter =
        |p: &commedia_domain::scenario::Parameter| ParameterView { name: p.name.to_string(), schema: fields(&p.schema.json) };
    ScenarioView {
        name: scenario.name.to_string(),
        about: about.to_owned(),
        hash: scenario.hash.to_string(),
        parameters: scenario.parameters.iter().map(parameter).collect(),
        agents: scenario.agents.iter().map(|agent| agent.name.to_string()).collect(),
        source: if version.is_some() { "workspace" } else { "built_in" },
        version: version.unwrap_or(1),
    }
}

pub(crate) async fn list(api: Arc<Api>, asked: Asked) -> Handled {
    let listed = packs::PACKS.iter().filter(|pack| pack.listed);
    let mut all: Vec<ScenarioView> =
        listed.map(|pack| Ok(view(pack.about, &*api.packs.get(pack)?, None))).collect::<Result<_, Problem>>()?;
    for named in asked.runtime.catalogue().await? {
        all.push(find(&api, &asked.runtime, &named.name).await?.view());
    }
    asked.listed(all, |scenario| scenario.name.clone(), |data, next| ScenariosPage { data, next })
}

fn tag(hash: &str) -> String {
    format!("\"{hash}\"")
}

pub(crate) async fn one(api: Arc<Api>, asked: Asked) -> Handled {
    let view = find(&api, &asked.runtime, asked.place(0)).await?.view();
    let tag = tag(&view.hash);
    if asked.header("if-none-match").is_some_and(|known| known.split(',').any(|known| known.trim() == tag)) {
        return Ok(Answer::empty(StatusCode::NOT_MODIFIED).with(header::ETAG, &tag));
    }
    Ok(Answer::json(&view).with(header::ETAG, &tag))
}

/// The scenario that a body is, compiled; all that is wrong with it at once.
async fn read_body(asked: &mut Asked) -> Result<(Arc<Scenario>, String), Problem> {
    let (kind, bytes) = asked.raw.take().ok_or_else(|| Problem::internal("a route without a body"))?;
    let compiled = tokio::task::spawn_blocking(move || {
        let source = match kind {
            "application/gzip" => {
                bundle::read(&bytes).map_err(|message| Problem::uncompiled(vec![Fault { pointer: String::new(), message }]))?
            }
            kind => {
                let end = if kind.ends_with("json") { "json" } else { "yaml" };
                let files = Folder::Pack(BTreeMap::new());
                Source { name: format!("document.scenario.{end}"), bytes: bytes.to_vec(), files }
            }
        };
        source.load().map_err(|faults| {
            let place = |f: &Diagnostic| format!("{}:{}:{}", f.file, f.span.line, f.span.column);
            let errors = faults.iter().filter(|fault| fault.severity == Severity::Error);
            Problem::uncompiled(errors.map(|f| Fault { pointer: place(f), message: f.message.clone() }).collect())
        })
    });
    let scenario = compiled.await.map_err(Problem::internal)??.scenario;
    let about = scenario.title.clone().or_else(|| scenario.description.clone()).unwrap_or_default();
    Ok((Arc::new(scenario), about.chars().take(200).collect()))
}

async fn put(asked: &Asked, scenario: &Arc<Scenario>, about: &str) -> Handled {
    if packs::find(&scenario.name).is_some() {
        let words = format!("`{}` is built in: give the scenario a `name` of its own", scenario.name);
        return Err(Problem::new("conflict", words));
    }
    let may = |newest: Option<&Version>| asked.if_match(newest.map(|version| tag(&version.hash.to_string())).as_deref()).is_ok();
    let (version, is_new) = asked.runtime.put_scenario(scenario, about, may).await?;
    let view = view(about, scenario, Some(version.number));
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let answer = Answer::json(&view).status(status).with(header::ETAG, &tag(&view.hash));
    Ok(answer.with(header::LOCATION, &format!("/api/scenarios/{}", scenario.name)))
}

pub(crate) async fn add(_: Arc<Api>, mut asked: Asked) -> Handled {
    let (scenario, about) = read_body(&mut asked).await?;
    put(&asked, &scenario, &about).await
}

pub(crate) async fn replace(_: Arc<Api>, mut asked: Asked) -> Handled {
    let (scenario, about) = read_body(&mut asked).await?;
    if *scenario.name != *asked.place(0) {
        let words = format!("the path names `{}`, and the document `{}`", asked.place(0), scenario.name);
        return Err(Problem::new("conflict", words));
    }
    put(&asked, &scenario, &about).await
}

pub(crate) async fn remove(_: Arc<Api>, asked: Asked) -> Handled {
    let name = asked.place(0);
    if packs::find(name).is_some() {
        return Err(Problem::new("conflict", format!("`{name}` is built in, and stays")));
    }
    let may = |newest: &Version| asked.if_match(Some(&tag(&newest.hash.to_string()))).is_ok();
    asked.runtime.remove_scenario(name, may).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn versions(api: Arc<Api>, asked: Asked) -> Handled {
    let newest = find(&api, &asked.runtime, asked.place(0)).await?.view();
    let all = if newest.source == "built_in" {
        vec![VersionView { version: 1, hash: newest.hash, put_at: None, put_by: "commedia".into() }]
    } else {
        let named = asked.runtime.named(&newest.name).await?;
        let one = |version: &Version| VersionView {
            version: version.number,
            hash: version.hash.to_string(),
            put_at: Some(timestamp_text(version.put_ms)),
            put_by: version.by.to_string(),
        };
        named.versions.iter().rev().map(one).collect()
    };
    asked.listed(all, |version: &VersionView| version.version.to_string(), |data, next| VersionsPage { data, next })
}

/// The API's document, in which runs are of one scenario.
pub(crate) async fn document(api: Arc<Api>, asked: Asked) -> Handled {
    let found = find(&api, &asked.runtime, asked.place(0)).await?;
    let document = openapi::document_of(api.routes.table(), api.gate.has_users(), &found.view(), &found.scenario);
    Ok(Answer::json(&Object::of(document)))
}

impl From<CatalogueError> for Problem {
    fn from(e: CatalogueError) -> Problem {
        match e {
            CatalogueError::Unknown(_) => Problem::not_found(e),
            CatalogueError::Changed { .. } => Problem::new("precondition_failed", e),
            CatalogueError::Full(_) => Problem::new("conflict", e),
            CatalogueError::Load(e) => e.into(),
        }
    }
}

/// All that is wrong with a document. Files that it includes are not there.
pub(crate) async fn validate(_: Arc<Api>, mut asked: Asked) -> Handled {
    let document: Document = asked.body()?;
    let name = "document.scenario.yaml";
    let looked_at = tokio::task::spawn_blocking(move || {
        let found = commedia_domain::scenario::load(name, document.source.as_bytes(), &NoFiles);
        let (ok, faults) = match found {
            Ok(loaded) => (true, loaded.warnings),
            Err(faults) => (false, faults),
        };
        let texts = Texts::of(None, &faults);
        let told = faults.iter().map(|fault| Object::of(diagnostics::to_json(fault, &texts)).0).collect();
        Validated { ok, diagnostics: told }
    });
    Ok(Answer::json(&looked_at.await.map_err(Problem::internal)?))
}

/// Parameters out of a text; starts nothing.
pub(crate) async fn extract(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wanted: Extract = asked.body()?;
    let scenario = find(&api, &asked.runtime, &wanted.scenario).await?.scenario;
    check_text(&wanted.text).map_err(|why| Problem::invalid_at("/text", why))?;
    let today = match wanted.today.as_deref() {
        Some(day) => the_day(day)?,
        None => day::today(api.settings.clock).map_err(Problem::internal)?,
    };
    let bound = models::bind(&scenario, Wanted { model: None, offline: false }, &api.settings.models).await;
    let bound = bound.map_err(|failure| Problem::from(failure).into_conflict())?;
    let reader =
        bound.reads(&scenario).map(|(binding, alias)| Reader { model: api.model.clone(), binding: binding.clone(), alias });
    let reading = read(&Extractor::new(scenario.clone()), &wanted.text, today, reader.as_ref()).await;
    Ok(Answer::json(&Object::of(crate::extraction::to_json(&scenario, &reading))))
}

/// The day that `/today` of a body names.
pub(crate) fn the_day(text: &str) -> Result<jiff::civil::Date, Problem> {
    text.parse().map_err(|_| Problem::invalid_at("/today", format!("`{text}` is no day")))
}

pub(crate) fn extract_example() -> Json {
    json!({"scenario": "retail-season", "text": "spring collection for 12 weeks, weekly reviews, a 5% cut if we undersell"})
}

pub(crate) fn document_example() -> Json {
    json!({"source": "name: hello\nagents:\n  greeter: {kind: rules, rules: [{otherwise: true, emit: [{finish: 'hello'}]}]}\n"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pack_compiles() {
        let known = Packs::default();
        for pack in packs::PACKS {
            assert_eq!(&*known.get(pack).map(|s| s.name.clone()).unwrap_or_else(|p| panic!("{p:?}")), pack.name);
        }
    }
}
