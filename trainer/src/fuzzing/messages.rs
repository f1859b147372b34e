//! What ranks tell each other before each step.

use dtrain_configs::schema::Alarm;
use dtrain_fuzz_kit::{Parse, Target};

use super::state::{FRAME_BYTES_PER_BYTE, FRAME_CONSTANT_BYTES, both_ways, parse_frame};
use crate::alarms::Judgement;
use crate::coordinator::{Directive, Interrupt, Report, SaveKind, StepPlan, StopReason};
use crate::error::TrainError;
use crate::run::{DIRECTIVE, Message, REPORT, Told};

/// From a rank to rank 0.
pub const REPORTS: Target = Target {
    name: "report",
    parse: Parse::Bytes(|input| parse_frame::<Message>(&REPORT, input)),
    seeds: || both_ways(&REPORT, &[&message(false), &message(true)]),
    words: &["DTRN", "REPT"],
    bytes_per_input_byte: FRAME_BYTES_PER_BYTE,
    constant_bytes: FRAME_CONSTANT_BYTES,
};

/// From rank 0 to all.
pub const DIRECTIVES: Target = Target {
    name: "directive",
    parse: Parse::Bytes(|input| parse_frame::<Directive>(&DIRECTIVE, input)),
    seeds: || {
        let plan = StepPlan { step: 7, epoch: 1, phase: 0, counts: vec![4, 4, 3], global_samples: 11 };
        let save = Directive::Save { step: 8, kind: SaveKind::Periodic };
        let stop = Directive::Stop(StopReason::Requeue);
        both_ways(
            &DIRECTIVE,
            &[&Directive::Step(plan), &Directive::Evaluate { step: 8, last: false }, &save, &stop],
        )
    },
    words: &["DTRN", "DIRV"],
    bytes_per_input_byte: FRAME_BYTES_PER_BYTE,
    constant_bytes: FRAME_CONSTANT_BYTES,
};

fn message(in_trouble: bool) -> Message {
    let mut message = Message { report: Report { ready_samples: 4, ..Report::default() }, failure: None };
    if in_trouble {
        message.report.interrupt = Some(Interrupt::Requeue);
        message.report.last_step_finite = Some(false);
        message.report.monitored = Some(0.5);
        message.report.watched = Some(0.25);
        let evidence = Some("`train/loss` is 2.3".into());
        message.report.alarms = vec![Judgement { alarm: Alarm::LossAtChance, step: 7, evidence }];
        message.report.failed_samples = vec![(3, "`a.wav`: truncated".into())];
        message.failure = Some(Told::of(&TrainError::environment("the disk is full", "make room")));
    }
    message
}
