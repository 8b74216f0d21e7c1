//! What happened to studies, in words and as JSON; what users see of them is in `views`.

pub mod views;

use heats_core::fact::StudyEvent;
use serde_json::{Value, json};

/// One sentence about the event.
pub fn sentence(event: &StudyEvent) -> String {
    match event {
        StudyEvent::Created(e) => format!("a client made study `{}`", e.name),
        StudyEvent::Removed(_) => "the study was removed".into(),
        StudyEvent::AttributeSet(e) => format!("attribute `{}` of the study was set", e.key),
        StudyEvent::TrialCreated(e) => format!("a client made trial {}", e.number),
        StudyEvent::ParamSet(e) => format!("parameter `{}` is {}", e.param.name, e.param.value),
        StudyEvent::TrialAttributeSet(e) => format!("attribute `{}` was set", e.attribute.key),
        StudyEvent::Reported(e) => format!("reported {} at step {}", e.value, e.step),
        StudyEvent::TrialMoved(e) => format!("the trial is {}", e.stage().name()),
    }
}

/// Its fields.
pub fn fields(event: &StudyEvent) -> Value {
    match event {
        StudyEvent::Created(e) => {
            json!({"study": e.study, "sweep": e.sweep, "name": e.name, "objectives": e.goals.len()})
        }
        StudyEvent::Removed(e) => json!({"study": e.study}),
        StudyEvent::AttributeSet(e) => json!({"study": e.study, "key": e.key, "value": e.value}),
        StudyEvent::TrialCreated(e) => json!({"study": e.study, "trial_id": e.trial, "number": e.number}),
        StudyEvent::ParamSet(e) => {
            json!({"trial_id": e.trial, "name": e.param.name, "value": e.param.value,
                   "distribution": e.param.distribution})
        }
        StudyEvent::TrialAttributeSet(e) => {
            json!({"trial_id": e.trial, "key": e.attribute.key, "value": e.attribute.value})
        }
        StudyEvent::Reported(e) => json!({"trial_id": e.trial, "step": e.step, "value": e.value}),
        StudyEvent::TrialMoved(e) => {
            json!({"trial_id": e.trial, "state": e.stage().name(), "values": e.values})
        }
    }
}
