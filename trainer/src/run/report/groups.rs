//! The groups of the optimizer in the banner.

use dtrain_configs::schema::{GroupConfig, GroupSchedule, Scheduled};

use super::banner::Banner;
use crate::engine::group_of;
use crate::run::prepare::Prepared;

/// A line of the banner for each group.
pub(super) fn describe_groups(banner: &mut Banner, prepared: &Prepared) {
    let groups = prepared.config.optimizer.groups();
    let of_network = prepared.engine.parameters().parameters();
    for (index, group) in groups.iter().enumerate() {
        let own = of_network.iter().filter(|p| group_of(groups, &p.name) == Some(index));
        let (number, elements) = own.fold((0, 0), |(n, all), p| (n + 1, all + p.tensor.numel()));
        banner.line(
            &format!("group {}", group.name),
            group.parameters.join(" "),
            format!("{number} tensors, {elements} parameters: {}", terms(group)),
        );
    }
}

/// What sets a group apart.
fn terms(group: &GroupConfig) -> String {
    let mut terms = Vec::new();
    terms.extend(group.lr.map(|lr| format!("learning rate {lr}")));
    if group.schedule == GroupSchedule::Constant {
        terms.push("learning rate without schedule".to_owned());
    }
    let of_scheduled = |(key, schedule): (&str, Scheduled)| match schedule.constant() {
        Some(1.0) if key == "lr_scale" => None,
        Some(value) => Some(format!("{key} {value}")),
        None => Some(format!("{key} on a schedule")),
    };
    terms.extend(group.scheduled().filter_map(of_scheduled));
    terms.extend(group.freeze_until.map(|span| format!("frozen for {span}")));
    terms.extend(group.freeze_from.map(|span| format!("frozen from {span} on")));
    if terms.is_empty() { "as the rest".to_owned() } else { terms.join(", ") }
}
