//! Servers of tools: asked once, as the run begins, what they offer; what they said is pinned for the run by its log. A run
//! that needs one which is not there fails before anything else happens in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Discovered, Event};
use crate::id::ToolIx;
use crate::run::state::{Ending, Status};
use crate::run::{Refusal, Run};
use crate::scenario::ToolRef;
use crate::tool::mcp::{Pinned, Ready};

/// What servers offered, by server and position in `allow`.
pub(super) type Offers = BTreeMap<ToolIx, Vec<Option<Ready>>>;

impl Run {
    /// The servers that some agent's model may call in this run, and that were not asked yet.
    pub(super) fn undiscovered(&self) -> impl Iterator<Item = ToolIx> + '_ {
        let scenario = &self.scenario;
        let needed = |users: &[crate::id::AgentIx]| users.iter().any(|a| !self.state.by_rules(&scenario.agents[a.at()]));
        let open = scenario.servers.iter().filter(|(server, _)| !self.state.servers.contains_key(server));
        open.filter(move |(_, users)| needed(users)).map(|(server, _)| *server)
    }

    /// A tool of a server as it was offered; `None` where it was not.
    pub fn ready(&self, tool: ToolRef) -> Option<&Ready> {
        let ToolRef::Served { server, tool } = tool else { return None };
        self.ready.get(&server)?.get(usize::from(tool))?.as_ref()
    }

    /// A server said what it offers, or could not be asked.
    pub(super) fn decide_discovered(&self, discovered: Box<Discovered>) -> Result<Vec<Event>, Refusal> {
        match self.state.status == Status::Created || !self.undiscovered().any(|server| server == discovered.server) {
            true => Err(Refusal::Stale("what a server of tools offers".into())),
            false => Ok(vec![Event::ToolsDiscovered(discovered)]),
        }
    }

    /// Pins what a server offered. One that must be there and lacks something ends the run.
    pub(super) fn discovered(&mut self, discovered: &Discovered) {
        let Some(spec) = self.scenario.tools.get(discovered.server.at()) else { return };
        let Some(mcp) = spec.mcp() else { return };
        let missing = |(tool, why): &(u16, Arc<str>)| {
            let name = mcp.allow.get(usize::from(*tool)).map_or("?", |one| &*one.name);
            format!("`{name}`: {why}")
        };
        let lacks = match &discovered.failure {
            Some(why) => Some(why.to_string()),
            None if discovered.missing.is_empty() => None,
            None => Some(discovered.missing.iter().map(missing).collect::<Vec<_>>().join("; ")),
        };
        if let Some(why) = lacks.filter(|_| !mcp.optional) {
            let cause = format!("the MCP server `{}` (`optional: true` goes without it): {why}", spec.name);
            self.state.ending.get_or_insert(Ending::Failed(cause.into()));
        }
        self.state.servers.insert(discovered.server, Pinned::of(discovered, mcp.allow.len()));
        self.renew_ready();
    }

    /// Makes ready what the state has.
    pub(super) fn renew_ready(&mut self) {
        let scenario = &self.scenario;
        let of = |(server, pinned): (&ToolIx, &Pinned)| {
            let mcp = scenario.tools.get(server.at())?.mcp()?;
            let tools = mcp.allow.iter().zip(&pinned.tools);
            Some((*server, tools.map(|(one, found)| found.as_ref()?.ready(&one.full)).collect()))
        };
        self.ready = Arc::new(self.state.servers.iter().filter_map(of).collect());
    }
}
