//! Everything in the settings of a run that is scheduled, by its key.

use super::{RunConfig, Scheduled, Span};

impl RunConfig {
    /// Adds the groups of parameters that the method asks for to those of the optimizer, unless it has one of that name.
    pub(crate) fn take_groups_of_method(&mut self) {
        let groups = self.optimizer.groups_mut();
        for group in self.method.groups() {
            if groups.iter().all(|own| own.name != group.name) {
                groups.push(group);
            }
        }
    }

    /// Every schedule besides that of the learning rate, by its key. Those of phases only where there are phases.
    pub fn schedules(&self) -> Vec<(String, Scheduled)> {
        let optimizer = &self.optimizer;
        let mut all = vec![("optimizer.weight_decay".to_owned(), optimizer.weight_decay())];
        all.push((optimizer.momentum_key().to_owned(), optimizer.momentum()));
        for (index, group) in optimizer.groups().iter().enumerate() {
            let keyed = |(key, schedule)| (format!("optimizer.groups[{index}].{key}"), schedule);
            all.extend(group.scheduled().map(keyed));
        }
        let of_pools = self.data.pools.iter().enumerate();
        all.extend(of_pools.map(|(index, pool)| (format!("data.pools[{index}].count"), pool.count)));
        let of_method = self.method.scheduled().into_iter();
        all.extend(of_method.map(|own| (format!("method.{}", own.name), own.schedule)));
        let phases = if self.phases.enabled { self.phases.list.as_slice() } else { &[] };
        for (index, phase) in phases.iter().enumerate() {
            for (key, schedules) in [("losses", &phase.losses), ("values", &phase.values)] {
                let keyed = |(name, schedule): (&String, &Scheduled)| {
                    (format!("phases.list[{index}].{key}.{name}"), *schedule)
                };
                all.extend(schedules.iter().map(keyed));
            }
        }
        all
    }

    /// Every stretch that has to fit the run, by its key.
    pub fn spans(&self) -> Vec<(String, Span)> {
        let of_schedules = self.schedules().into_iter().flat_map(|(key, schedule)| {
            schedule.spans().map(move |(part, span)| (format!("{key}.{part}"), span)).collect::<Vec<_>>()
        });
        let of_groups = self.optimizer.groups().iter().enumerate().flat_map(|(index, group)| {
            group.freezes().map(move |(key, span)| (format!("optimizer.groups[{index}].{key}"), span))
        });
        of_schedules.chain(of_groups).collect()
    }

    /// The key of something besides the learning rate and phases whose steps would be others in a run of another length.
    pub fn follows_length(&self) -> Option<String> {
        let schedule = self.schedules().into_iter().find(|(_, schedule)| schedule.follows_length());
        let span = || self.spans().into_iter().find(|(_, span)| span.follows_length());
        schedule.map(|(key, _)| key).or_else(|| span().map(|(key, _)| key))
    }
}
