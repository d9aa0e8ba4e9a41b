//! Scenarios that can be run here, documents to be looked at, and parameters in a person's own words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use commedia_actors::extraction::{Reader, read};
use commedia_domain::event::ModelBinding;
use commedia_domain::extraction::Extractor;
use commedia_domain::scenario::{NoFiles, Scenario};
use serde_json::{Value as Json, json};

use super::Api;
use super::problem::Problem;
use super::route::{Answer, Asked, Handled};
use super::wire::{Document, Extract, Object, ParameterView, ScenarioView, ScenariosPage, Validated};
use crate::diagnostics::{self, Texts};
use crate::models::{self, Wanted};
use crate::packs;
use crate::source::Source;

/// The scenarios that can be run by name, compiled when first wanted.
#[derive(Default)]
pub(crate) struct Catalogue(Mutex<HashMap<&'static str, Arc<Scenario>>>);

impl Catalogue {
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Scenario>, Problem> {
        let unknown = || Problem::not_found(format!("there is no scenario `{name}`; GET /api/scenarios lists them"));
        let pack = packs::find(name).ok_or_else(unknown)?;
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

fn view(about: &str, scenario: &Scenario) -> ScenarioView {
    let fields = |json: &Json| json.as_object().cloned().unwrap_or_default();
    let parameter =
        |p: &commedia_domain::scenario::Parameter| ParameterView { name: p.name.to_string(), schema: fields(&p.schema.json) };
    ScenarioView {
        name: scenario.name.to_string(),
        about: about.to_owned(),
        hash: scenario.hash.to_string(),
        parameters: scenario.parameters.iter().map(parameter).collect(),
        agents: scenario.agents.iter().map(|agent| agent.name.to_string()).collect(),
        source: "built_in",
    }
}

pub(crate) async fn list(api: Arc<Api>, _: Asked) -> Handled {
    let listed = packs::PACKS.iter().filter(|pack| pack.listed);
    let data = listed.map(|pack| Ok(view(pack.about, &*api.scenarios.find(pack.name)?))).collect::<Result<_, Problem>>()?;
    Ok(Answer::json(&ScenariosPage { data, next: None }))
}

pub(crate) async fn one(api: Arc<Api>, asked: Asked) -> Handled {
    let name = asked.places.first().map_or("", String::as_str);
    let scenario = api.scenarios.find(name)?;
    Ok(Answer::json(&view(packs::find(name).map_or("", |pack| pack.about), &scenario)))
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
    let scenario = api.scenarios.find(&wanted.scenario)?;
    let today = wanted.today.as_deref().map(|day| day.parse::<jiff::civil::Date>());
    let today = match today.transpose() {
        Ok(Some(day)) => day,
        Ok(None) => jiff::Timestamp::from_millisecond(api.settings.clock.now_ms())
            .map(|now| now.to_zoned(jiff::tz::TimeZone::UTC).date())
            .map_err(Problem::internal)?,
        Err(e) => {
            let fault = super::problem::Fault { pointer: "/today".into(), message: e.to_string() };
            return Err(Problem::invalid(vec![fault]));
        }
    };
    let bound = models::bind(&scenario, Wanted { model: None, offline: false }, &api.settings.models).await?;
    let at = scenario.extraction.model;
    let binding = at.and_then(|at| bound.models.get(at)).or(bound.models.last());
    let reader = match binding {
        Some(binding @ ModelBinding::Provider { .. }) => {
            let alias = at.and_then(|at| scenario.models.get(at)).cloned();
            Some(Reader { model: api.model.clone(), binding: binding.clone(), alias })
        }
        _ => None,
    };
    let reading = read(&Extractor::new(scenario.clone()), &wanted.text, today, reader.as_ref()).await;
    Ok(Answer::json(&Object::of(crate::extraction::to_json(&scenario, &reading))))
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
    use crate::http::runs::midnight;

    #[test]
    fn every_listed_pack_is_found_and_nothing_else_is() {
        let catalogue = Catalogue::default();
        for name in packs::names() {
            assert_eq!(&*catalogue.find(name).map(|s| s.name.clone()).unwrap_or_else(|p| panic!("{p:?}")), name);
        }
        assert_eq!(catalogue.find("no-such").map(|_| ()).expect_err("none").code, "not_found");
        assert_eq!((midnight("2026-03-02"), midnight("2026-02-30")), (Some(1_772_409_600_000), None));
    }
}
