//! Every name that spans carry: OpenTelemetry's conventions for generative AI, and what is ours. The conventions are still in
//! development and change; whoever follows them changes this file and docs/tracing.md.

/// What a span is of; also how its name begins.
pub(super) const OPERATION: &str = "gen_ai.operation.name";
/// A run.
pub(super) const INVOKE_WORKFLOW: &str = "invoke_workflow";
/// A turn.
pub(super) const INVOKE_AGENT: &str = "invoke_agent";
/// A step that asks a model.
pub(super) const CHAT: &str = "chat";
/// A step that calls a tool.
pub(super) const EXECUTE_TOOL: &str = "execute_tool";

pub(super) const CONVERSATION_ID: &str = "gen_ai.conversation.id";
pub(super) const WORKFLOW_NAME: &str = "gen_ai.workflow.name";
pub(super) const AGENT_NAME: &str = "gen_ai.agent.name";
pub(super) const PROVIDER_NAME: &str = "gen_ai.provider.name";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
pub(super) const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
pub(super) const OUTPUT_TYPE: &str = "gen_ai.output.type";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const TOOL_NAME: &str = "gen_ai.tool.name";
pub(super) const TOOL_TYPE: &str = "gen_ai.tool.type";
pub(super) const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
pub(super) const ERROR_TYPE: &str = "error.type";

// Bodies: only where the settings say so.
pub(super) const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
pub(super) const INPUT_MESSAGES: &str = "gen_ai.input.messages";
pub(super) const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
pub(super) const TOOL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
pub(super) const TOOL_RESULT: &str = "gen_ai.tool.call.result";

// Ours.
pub(super) const STATUS: &str = "commedia.run.status";
pub(super) const SEED: &str = "commedia.run.seed";
pub(super) const LEFT_OUT: &str = "commedia.run.spans_left_out";
pub(super) const COST_USD: &str = "commedia.usage.cost_usd";
pub(super) const TURN: &str = "commedia.turn.id";
pub(super) const TURNS: &str = "commedia.turn.count";
pub(super) const REPLICA: &str = "commedia.agent.replica";
pub(super) const ANSWERED_BY: &str = "commedia.answered_by";
pub(super) const HANDOFF_TO: &str = "commedia.handoff.to";
pub(super) const STEP: &str = "commedia.step.id";
pub(super) const STEP_KIND: &str = "commedia.step.kind";

/// Who answers where no model does: rules, and the stub.
pub(super) const OURSELVES: &str = "commedia";
/// The stub's model.
pub(super) const STUB: &str = "stub";

/// A provider as the conventions name it.
pub(super) fn provider(name: &str) -> &str {
    match name {
        "azure" => "azure.ai.openai",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn providers_have_their_names_of_the_conventions() {
        let rows = [("openai", "openai"), ("anthropic", "anthropic"), ("azure", "azure.ai.openai"), ("ollama", "ollama")];
        rows.iter().for_each(|(ours, theirs)| assert_eq!(super::provider(ours), *theirs));
    }
}
