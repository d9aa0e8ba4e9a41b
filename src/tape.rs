//! Whether what models answer is recorded (`--record`), played from a recording (`--cassette`), or neither.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use commedia_actors::model::Model;
use commedia_actors::model::cassette::{Cassette, CassetteError, Header, Recorder};
use commedia_domain::event::ModelBinding;
use commedia_domain::scenario::Scenario;

use crate::failure::{Exit, Failure};
use crate::output::say;

/// What becomes of models' answers.
#[derive(Clone, Default)]
pub enum Tape {
    /// They are used.
    #[default]
    None,
    /// They are used, and recorded in a folder.
    Record(Arc<Recording>),
    /// There are no models: the answers are recorded ones.
    Play(PathBuf, Arc<Cassette>),
}

/// A recording that is made.
pub struct Recording {
    dir: PathBuf,
    header: Header,
    recorder: OnceLock<Arc<Recorder>>,
}

impl Tape {
    /// The recording in a folder.
    pub fn play(dir: &Path) -> Result<Tape, Failure> {
        let cassette = Cassette::open(dir).map_err(failure)?;
        for lane in cassette.cut() {
            say(&format!("warning: {}: its last line was cut off and is left out", lane.display()));
        }
        Ok(Tape::Play(dir.to_owned(), Arc::new(cassette)))
    }

    /// A recording of a scenario with these models behind it; one of a run without a model would stay empty. Nothing is
    /// written before the run begins.
    pub fn record(dir: &Path, scenario: &Scenario, bindings: &[ModelBinding]) -> Result<Tape, Failure> {
        if !bindings.iter().any(|b| matches!(b, ModelBinding::Provider { .. })) {
            return Err(Failure::usage("`--record` has nothing to record: no model is called in this run")
                .help("`--model PROVIDER:MODEL` names one; a run by rules or by the stub is the same again by its seed"));
        }
        let aliases = scenario.models.iter().map(|m| &*m.name);
        let header = Header::new(&scenario.name, &scenario.hash.to_string(), aliases, bindings);
        Ok(Tape::Record(Arc::new(Recording { dir: dir.to_owned(), header, recorder: OnceLock::new() })))
    }

    /// Who answers, where a recording does: the same as when it was made.
    pub fn bindings(&self, scenario: &Scenario) -> Result<Option<Vec<ModelBinding>>, Failure> {
        let Tape::Play(dir, cassette) = self else { return Ok(None) };
        let header = cassette.header();
        if *header.scenario != *scenario.name {
            let message = format!("{} is a recording of `{}`, not of `{}`", dir.display(), header.scenario, scenario.name);
            return Err(Failure::invalid(message));
        }
        let aliases = scenario.models.iter().map(|m| &*m.name).chain(["*"]);
        let bound = aliases.map(|alias| {
            header.binding(alias).ok_or_else(|| {
                let message = format!("the recording {} does not know the model `{alias}`", dir.display());
                Failure::invalid(message).help("the scenario has another model than when it was recorded; record it again")
            })
        });
        bound.collect::<Result<_, _>>().map(Some)
    }

    /// The model that answers, in the place of those given.
    pub fn model(&self, models: Arc<dyn Model>) -> Result<Arc<dyn Model>, Failure> {
        match self {
            Tape::None => Ok(models),
            Tape::Record(recording) => {
                if let Some(begun) = recording.recorder.get() {
                    return Ok(begun.clone());
                }
                let begun = Arc::new(Recorder::create(&recording.dir, &recording.header, models).map_err(failure)?);
                Ok(recording.recorder.get_or_init(|| begun).clone())
            }
            Tape::Play(_, cassette) => Ok(cassette.clone()),
        }
    }

    /// Who answers, in one line, where a recording does.
    pub fn says(&self) -> Option<String> {
        match self {
            Tape::Play(dir, _) => Some(format!("recorded: the answers of {}; no model is called", dir.display())),
            Tape::None | Tape::Record(_) => None,
        }
    }

    /// Says what is missing at the end, and what it means for the process: a recording that could not answer has failed its
    /// run, whatever took the model's place.
    pub fn close(&self) -> Option<Exit> {
        match self {
            Tape::None => None,
            Tape::Record(recording) => {
                let (lost, why) = recording.recorder.get()?.lost()?;
                say(&format!("error: {lost} answers were not recorded: {why}; the recording cannot be played in full"));
                Some(Exit::Failed)
            }
            Tape::Play(_, cassette) => {
                let (misses, first) = cassette.misses()?;
                let more = if misses > 1 { format!(" (and {} more)", misses - 1) } else { String::new() };
                say(&format!("error: {first}{more}"));
                Some(Exit::Failed)
            }
        }
    }
}

fn failure(e: CassetteError) -> Failure {
    match e {
        CassetteError::There(_) => Failure::usage(e),
        CassetteError::Io(..) | CassetteError::NotOne(..) | CassetteError::Line { .. } => Failure::invalid(e),
    }
}
