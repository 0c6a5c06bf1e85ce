//! Teams and limits as the configuration has them, in the form that the queue asks for.

use crate::{
    auth::{KeepImages, Team},
    limits,
    providers::{Registry, Upstream, glob},
    store::{Caps, Raise, Shares, TeamShare},
};
use plugin_api::value::Limits;
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::Instant,
};

/// What the configuration says of teams, keys and limits.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub limits: limits::Settings,
    /// `default` is what a team without an entry gets.
    pub teams: HashMap<String, Team>,
    /// Limits of keys that have their own, by key id.
    pub keys: HashMap<String, Limits>,
    /// Models a key may use, where it has its own list.
    pub key_models: HashMap<String, Vec<String>>,
    /// What teams may have beyond their limits now.
    pub raises: Arc<[Raise]>,
}

impl Rules {
    /// A team's own entry, else that of `default`.
    pub fn team(&self, name: &str) -> &Team {
        static NONE: LazyLock<Team> = LazyLock::new(Team::default);
        self.teams.get(name).or_else(|| self.teams.get("default")).unwrap_or(&NONE)
    }

    pub fn key(&self, id: &str) -> &Limits {
        static NONE: LazyLock<Limits> = LazyLock::new(Limits::default);
        self.keys.get(id).unwrap_or(&NONE)
    }

    /// Globs of the models an owner may use.
    pub fn models(&self, team: &str, key: &str) -> Vec<String> {
        self.key_models.get(key).unwrap_or_else(|| &self.team(team).models).clone()
    }

    /// Whether a team is offered a tool, of those that there are.
    pub fn offers(&self, team: &str, tool: &str) -> bool {
        self.team(team).tools.iter().any(|pattern| glob::fits(pattern, tool))
    }

    pub fn queued_jobs(&self, team: &str) -> Option<u64> {
        self.team(team).limits.queued_jobs.or(self.limits.per_team.queued_jobs)
    }

    /// How long a team's images live in microseconds; `None`: forever.
    pub fn image_life_us(&self, team: &str) -> Option<i64> {
        match self.team(team).retention.images {
            KeepImages::Forever => None,
            KeepImages::For(span) => Some(span.as_us()),
        }
    }

    pub fn shares(&self, registry: &Registry) -> Shares {
        let share = |team: &Team| TeamShare {
            cap: team.limits.concurrent_jobs.or(self.limits.per_team.concurrent_jobs),
            weight: team.weight.max(1),
        };
        let now = Instant::now();
        // One that takes no call now takes no job either.
        let open = |upstream: &Arc<Upstream>| {
            let closed = upstream.is_closed(now) || registry.paused_since(&upstream.id).is_some();
            let cap = if closed { Some(0) } else { upstream.concurrency };
            (upstream.id.clone(), cap)
        };
        Shares {
            // An instance that is off takes no claim: its jobs wait until it is back, or for their deadline.
            instances: registry.instances().filter(|i| i.is_on()).map(open).collect(),
            teams: self.teams.iter().map(|(name, team)| (name.clone(), share(team))).collect(),
            other_teams: share(self.team("default")),
            keys: self.keys.iter().filter_map(|(id, l)| Some((id.clone(), l.concurrent_jobs?))).collect(),
            other_keys: self.limits.per_key.concurrent_jobs,
        }
    }

    pub fn caps(&self, registry: &Registry, instance: &str, team: &str, key: &str) -> Caps {
        self.shares(registry).caps(instance, team, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teams_tools_are_its_own_else_those_of_default_else_all() {
        let team =
            |tools: &[&str]| Team { tools: tools.iter().map(|t| (*t).into()).collect(), ..Team::default() };
        let mut rules = Rules::default();
        assert!(rules.offers("anybody", "edit_image"));
        rules.teams.insert("default".into(), team(&["list_*"]));
        rules.teams.insert("design".into(), team(&["*image*", "list_jobs"]));
        rules.teams.insert("locked".into(), team(&[]));
        for (name, tool, offered) in [
            ("anybody", "list_models", true),
            ("anybody", "edit_image", false),
            ("design", "edit_image", true),
            ("design", "list_jobs", true),
            ("design", "list_models", false),
            ("locked", "list_models", false),
        ] {
            assert_eq!(rules.offers(name, tool), offered, "{name} {tool}");
        }
    }
}
