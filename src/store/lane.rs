//! Who runs how much, and whose turn it is: start-time fair queueing over the teams of one instance's lane.

use super::{
    entity::job,
    model::{Job, State},
    submit::Caps,
};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use std::collections::HashMap;

/// Jobs that run now, over all nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Running {
    instances: HashMap<String, u32>,
    teams: HashMap<String, u32>,
    keys: HashMap<(String, String), u32>,
}

impl Running {
    pub async fn read(tx: &impl ConnectionTrait) -> Result<Running, DbErr> {
        let rows: Vec<(String, String, String, i64)> = job::Entity::find()
            .select_only()
            .columns([job::Column::Instance, job::Column::Team, job::Column::KeyId])
            .column_as(job::Column::Id.count(), "n")
            .filter(job::Column::State.eq(State::Running.code()))
            .group_by(job::Column::Instance)
            .group_by(job::Column::Team)
            .group_by(job::Column::KeyId)
            .into_tuple()
            .all(tx)
            .await?;
        let mut running = Running::default();
        for (instance, team, key, n) in rows {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            *running.instances.entry(instance).or_default() += n;
            *running.teams.entry(team.clone()).or_default() += n;
            *running.keys.entry((team, key)).or_default() += n;
        }
        Ok(running)
    }

    pub fn add(&mut self, job: &Job) {
        *self.instances.entry(job.instance.clone()).or_default() += 1;
        *self.teams.entry(job.team.clone()).or_default() += 1;
        *self.keys.entry((job.team.clone(), job.key_id.clone())).or_default() += 1;
    }

    pub fn of_instance(&self, instance: &str) -> u32 {
        self.instances.get(instance).copied().unwrap_or(0)
    }
    pub fn of_team(&self, team: &str) -> u32 {
        self.teams.get(team).copied().unwrap_or(0)
    }
    pub fn of_key(&self, team: &str, key: &str) -> u32 {
        self.keys.get(&(team.to_owned(), key.to_owned())).copied().unwrap_or(0)
    }

    /// Keys of a team that may start no more.
    pub fn keys_at_cap(&self, team: &str, cap: impl Fn(&str) -> Option<u32>) -> Vec<String> {
        let of_team = self.keys.iter().filter(|((t, _), _)| t == team);
        of_team
            .filter(|((_, key), n)| cap(key).is_some_and(|cap| **n >= cap))
            .map(|((_, key), _)| key.clone())
            .collect()
    }

    pub fn has_room(&self, job: &Job, caps: &Caps) -> bool {
        let below = |cap: Option<u32>, n: u32| cap.is_none_or(|cap| n < cap);
        below(caps.instance, self.of_instance(&job.instance))
            && below(caps.team, self.of_team(&job.team))
            && below(caps.key, self.of_key(&job.team, &job.key_id))
    }
}

/// One lane's clock and its teams' start tags, in milliseconds of work divided by weight.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    pub v: i64,
    pub tags: HashMap<String, i64>,
}

impl Lane {
    /// The team whose turn it is, among those given: the one with the lowest start.
    pub fn next<'a>(&self, teams: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        // By name where they are level, so that every node decides alike.
        teams.min_by_key(|team| (self.start(team), *team))
    }

    fn start(&self, team: &str) -> i64 {
        self.v.max(self.tags.get(team).copied().unwrap_or(0))
    }

    /// A job of `team` starts: the lane's clock moves to its start, the team's tag behind its work.
    pub fn started(&mut self, team: &str, expected_ms: i64, weight: u32) {
        let start = self.start(team);
        self.v = start;
        let work = (expected_ms.max(1) * 1_000) / i64::from(weight.max(1));
        self.tags.insert(team.to_owned(), start + work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(weights: &[(&str, u32)], rounds: usize) -> HashMap<String, usize> {
        let mut lane = Lane::default();
        let mut count = HashMap::new();
        for _ in 0..rounds {
            let team = lane.next(weights.iter().map(|w| w.0)).unwrap().to_owned();
            let weight = weights.iter().find(|w| w.0 == team).unwrap().1;
            lane.started(&team, 5_000, weight);
            *count.entry(team).or_default() += 1;
        }
        count
    }

    #[test]
    fn weights_share_a_lane() {
        let count = served(&[("a", 3), ("b", 1)], 400);
        assert!((299..=301).contains(&count["a"]), "3:1 of 400 is 300, got {}", count["a"]);
    }

    #[test]
    fn a_new_team_starts_at_once_behind_anothers_thousand_jobs() {
        let mut lane = Lane::default();
        for _ in 0..100 {
            lane.started("a", 5_000, 1);
        }
        let order: Vec<&str> = (0..2)
            .map(|_| {
                let team = lane.next(["a", "b"].into_iter()).unwrap();
                lane.started(team, 5_000, 1);
                team
            })
            .collect();
        assert!(order.contains(&"b"), "at most one job of a goes first: {order:?}");
    }
}
