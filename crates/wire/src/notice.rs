//! What is told outside of the cluster, as JSON: `heats.notice/v1`.

use heats_core::notices::Notice;
use heats_core::trial::Trial;
use heats_core::{Fact, Sweep};
use heats_domain::spec::NotifyOn;
use serde_json::{Map, Value, json};

use crate::sentence::number;

/// The schema's name.
pub const SCHEMA: &str = "heats.notice/v1";

/// What tells one notice from all others, for receivers that get one twice: the same for every try.
pub fn id(sweep: &Sweep, notice: Notice) -> String {
    format!("{}-{}", sweep.id, notice.place)
}

/// The notice; `None` where the journal does not have what it tells of.
pub fn json(sweep: &Sweep, notice: Notice) -> Option<Value> {
    let record = sweep.journal.get(notice.place as usize)?;
    let at = jiff::Timestamp::from_millisecond(i64::try_from(record.at_ms).ok()?).ok()?;
    let mut told = Map::new();
    told.insert("schema".into(), SCHEMA.into());
    told.insert("id".into(), id(sweep, notice).into());
    told.insert("event".into(), notice.event.name().into());
    told.insert("at".into(), at.to_string().into());
    told.insert("sweep".into(), json!({"id": sweep.id, "name": sweep.name}));
    match record.cell.fact.as_ref()? {
        Fact::TrialReported(fact) => {
            let value = sweep.measured(&fact.metrics).and_then(|mut values| values.next());
            best(sweep, sweep.trial(fact.trial)?, value, &mut told);
            told.insert("step".into(), fact.step.into());
        }
        Fact::SweepEnded(fact) => {
            told.insert("ending".into(), fact.ending().name().into());
            told.insert("why".into(), fact.why.as_str().into());
            if let Some(trial) = sweep.best() {
                best(sweep, trial, trial.best.map(|best| best.value), &mut told);
            }
        }
        _ => return None,
    }
    Some(told.into())
}

fn best(sweep: &Sweep, trial: &Trial, value: Option<f64>, told: &mut Map<String, Value>) {
    told.insert("trial".into(), trial.number.into());
    told.insert("metric".into(), sweep.objective().map(|objective| objective.metric()).into());
    told.insert("value".into(), value.map_or(Value::Null, number));
    told.insert("params".into(), json!(sweep.params(trial)));
}

/// What a person wants to hear of a webhook: to whom it is, how far it was told, and what it waits for.
pub fn hooks(sweep: &Sweep) -> Vec<crate::v1::Hook> {
    let hooks = sweep.spec.notify.iter().zip(&sweep.notices.hooks).enumerate();
    hooks
        .map(|(number, (asked, told))| crate::v1::Hook {
            webhook: asked.webhook.clone(),
            on: asked.on.iter().map(|event: &NotifyOn| event.name().to_owned()).collect(),
            delivered: told.delivered,
            given_up: told.given_up.clone().unwrap_or_default(),
            waiting: sweep.to_send(number as u32).map(|notice| notice.event.name().to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use heats_core::ops::attempts::End;
    use heats_core::testing::{Cluster, SweepBuilder};

    use super::*;

    #[test]
    fn a_notice_says_what_happened_to_which_trial_by_a_name_of_its_own() {
        let mut cluster = Cluster::default();
        let hooks = json!([{"on": ["new_best", "finished"], "webhook": "https://a.example"}]);
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1).top("notify", hooks));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.report(key, 3, 0.25).expect("is live");
        let sweep = cluster.sweep(id);
        let notice = sweep.to_send(0).expect("a best");
        let told = json(sweep, notice).expect("is told");
        assert_eq!(told["schema"], SCHEMA);
        assert_eq!(told["id"], format!("{id}-{}", notice.place));
        assert_eq!((&told["event"], &told["trial"], &told["step"]), (&json!("new_best"), &json!(0), &json!(3)));
        assert_eq!((&told["value"], &told["metric"]), (&json!(0.25), &json!("loss")));
        assert!(told["params"].is_object() && told["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{told}");
        cluster.op(heats_core::Op::NoticeDelivered { sweep: id, hook: 0, place: notice.place }).expect("is noted");
        cluster.finish(key, End::Exited(0));
        let sweep = cluster.sweep(id);
        let told = json(sweep, sweep.to_send(0).expect("the end")).expect("is told");
        assert_eq!(
            (&told["event"], &told["ending"], &told["value"]),
            (&json!("finished"), &json!("finished"), &json!(0.25))
        );
        let [hook] = super::hooks(sweep).try_into().expect("one");
        assert_eq!((hook.delivered, hook.waiting.as_deref(), hook.given_up.as_str()), (1, Some("finished"), ""));
    }
}
