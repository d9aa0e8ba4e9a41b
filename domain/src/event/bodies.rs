//! Where the bodies of an event are: one list of places, to read them and to fill them.

use super::{
    Ask, Call, Chat, Ended, Entry, Event, FiredAction, Offered, Outcome, Recorded, Reply, Sent, StepOutcome, Then, Work, Write,
};
use crate::body::Body;

macro_rules! visitors {
    ($name:ident, $iter:ident, $($by:tt)+) => {
        pub(super) mod $name {
            use super::*;

            type See<'a> = dyn FnMut($($by)+ Body) + 'a;

            pub(in crate::event) fn event(event: $($by)+ Event, see: &mut See<'_>) {
                match event {
                    Event::RunCreated(created) => created.params.$iter().for_each(see),
                    Event::RunStarted { messages } => messages.$iter().for_each(|(_, text, data)| {
                        text.$iter().for_each(&mut *see);
                        see(data);
                    }),
                    Event::TurnCompleted(done) => {
                        done.entries.$iter().for_each(|e| entry(e, see));
                        done.said.$iter().for_each(|c| chat(c, see));
                    }
                    Event::DelegateAsked { asks, .. } => asks.$iter().for_each(|Ask { text, .. }| see(text)),
                    Event::DelegateReturned { output, .. } => see(output),
                    Event::InputReceived { text, data, .. } => {
                        see(text);
                        see(data);
                    }
                    Event::TriggerFired(fired) => match $($by)+ fired.action {
                        FiredAction::Told { text, data, .. } => {
                            text.$iter().for_each(&mut *see);
                            see(data);
                        }
                        FiredAction::Called { writes, sent: told, result } => {
                            writes.$iter().for_each(|w| write(w, see));
                            told.$iter().for_each(|s| sent(s, see));
                            see(result);
                        }
                        FiredAction::Skipped | FiredAction::Failed { .. } => {}
                    },
                    Event::ConversationSummarised { summary, .. } | Event::HistorySummarised { summary, .. } => see(summary),
                    Event::RunCompleted(ended)
                    | Event::RunFailed(ended)
                    | Event::RunTimedOut(ended)
                    | Event::RunOverBudget(ended)
                    | Event::RunCancelled(ended) => {
                        let Ended { result, .. } = $($by)+ **ended;
                        see(result);
                    }
                    Event::StepPlanned { work: Work::Tool { input, .. }, .. } => see(input),
                    Event::StepPlanned { work: Work::Judge { value, .. }, .. } => see(value),
                    Event::StepRecorded(step) => recorded($($by)+ **step, see),
                    Event::ToolsDiscovered(found) => found.offered.$iter().for_each(|Offered { description, schema, .. }| {
                        see(description);
                        see(schema);
                    }),
                    _ => {}
                }
            }

            fn entry(entry: $($by)+ Entry, see: &mut See<'_>) {
                let Entry { writes, refused, sent: told, says, outcome: end, .. } = entry;
                writes.$iter().for_each(|w| write(w, see));
                refused.$iter().for_each(|(w, _)| write(w, see));
                told.$iter().for_each(|s| sent(s, see));
                says.$iter().for_each(&mut *see);
                outcome(end, see);
            }

            fn write(write: $($by)+ Write, see: &mut See<'_>) {
                match write {
                    Write::Put { record, .. } => see(record),
                    Write::State { value, .. } | Write::Own { value, .. } => see(value),
                    Write::Delete { .. } | Write::Wake { .. } => {}
                }
            }

            fn sent(sent: $($by)+ Sent, see: &mut See<'_>) {
                let Sent { text, data, .. } = sent;
                text.$iter().for_each(&mut *see);
                see(data);
            }

            fn outcome(outcome: $($by)+ Outcome, see: &mut See<'_>) {
                match outcome {
                    Outcome::Done => {}
                    Outcome::Handoff { text, data, .. } => {
                        text.$iter().for_each(&mut *see);
                        see(data);
                    }
                    Outcome::Final { output } => see(output),
                }
            }

            fn chat(chat: $($by)+ Chat, see: &mut See<'_>) {
                match chat {
                    Chat::User { text } => see(text),
                    Chat::Assistant { text, calls, .. } => {
                        see(text);
                        calls.$iter().for_each(|Call { input, .. }| see(input));
                    }
                    Chat::Tool { content, .. } => see(content),
                    Chat::Reasoning { items, .. } => see(items),
                }
            }

            fn recorded(recorded: $($by)+ Recorded, see: &mut See<'_>) {
                let Recorded { outcome: came, then, .. } = recorded;
                match came {
                    StepOutcome::Answered { text, calls, .. } => {
                        see(text);
                        calls.$iter().for_each(|Call { input, .. }| see(input));
                    }
                    StepOutcome::Done { value, writes, sent: told } => {
                        see(value);
                        writes.$iter().for_each(|w| write(w, see));
                        told.$iter().for_each(|s| sent(s, see));
                    }
                    StepOutcome::Failed(_) => {}
                    StepOutcome::Replied(reply) => {
                        let Reply { text, calls, reasoning, .. } = $($by)+ **reply;
                        see(text);
                        calls.$iter().for_each(|Call { input, .. }| see(input));
                        reasoning.$iter().for_each(&mut *see);
                    }
                }
                match then {
                    Then::Again { answers, words } => {
                        answers.$iter().for_each(|(_, answer)| see(answer));
                        words.$iter().for_each(&mut *see);
                    }
                    Then::Tools { planned, answers, after } => {
                        answers.$iter().for_each(|(_, answer)| see(answer));
                        planned.$iter().for_each(|(_, _, input)| see(input));
                        after.$iter().for_each(|end| outcome(end, see));
                    }
                    Then::Ask { asks, answers } => {
                        answers.$iter().for_each(|(_, answer)| see(answer));
                        asks.$iter().for_each(|Ask { text, .. }| see(text));
                    }
                    Then::Ready { answers, outcome: end } => {
                        answers.$iter().for_each(|(_, answer)| see(answer));
                        outcome(end, see);
                    }
                    Then::Judge { planned } => planned.$iter().for_each(|(_, _, value)| see(value)),
                    Then::Summarise { answers, outcome: end } => {
                        answers.$iter().for_each(|(_, answer)| see(answer));
                        outcome(end, see);
                    }
                    Then::Wait | Then::Fallback | Then::Failed(_) => {}
                }
            }
        }
    };
}

visitors!(read, iter, &);
visitors!(fill, iter_mut, &mut);
