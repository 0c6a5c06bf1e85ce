//! A configuration's catalog with what calls need. Built anew at a reload, never changed in place; instances that stay as
//! they are go over.

use super::{catalog::Catalog, settings::Settings, upstream::Upstream};
use crate::{outbound::Clients, spool::Spool, store::Pauses};
use indexmap::IndexMap;
use plugin_api::{Context, Plugin};
use std::{ops::Deref, sync::Arc};
use tokio::time::Instant;
use uuid::Uuid;

pub struct Registry {
    catalog: Catalog,
    clients: Clients,
    spool: Arc<Spool>,
}

impl Deref for Registry {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

impl Registry {
    /// # Errors
    /// Every entry a plugin does not accept, in sentences.
    pub fn build(
        settings: &Settings,
        plugins: &[Plugin],
        clients: Clients,
        spool: Arc<Spool>,
    ) -> Result<Registry, Vec<String>> {
        Registry::of(settings, plugins, clients, spool, &IndexMap::new(), Pauses::new())
    }

    /// Another configuration beside this one. An instance whose settings did not change is the same one: its
    /// breaker, its rate and its rest after a refusal go on. Pauses stay.
    ///
    /// # Errors
    /// As [`Registry::build`].
    pub fn rebuild(&self, settings: &Settings, plugins: &[Plugin]) -> Result<Registry, Vec<String>> {
        let (clients, spool, pauses) = (self.clients.clone(), self.spool.clone(), self.pauses().clone());
        Registry::of(settings, plugins, clients, spool, &self.instances, pauses)
    }

    /// The same instances and models, of which these instances are paused.
    pub fn with_pauses(&self, pauses: Pauses) -> Registry {
        let catalog = self.catalog.with_pauses(pauses);
        Registry { catalog, clients: self.clients.clone(), spool: self.spool.clone() }
    }

    fn of(
        settings: &Settings,
        plugins: &[Plugin],
        clients: Clients,
        spool: Arc<Spool>,
        old: &IndexMap<String, Arc<Upstream>>,
        pauses: Pauses,
    ) -> Result<Registry, Vec<String>> {
        let mut errors = Vec::new();
        let mut instances = IndexMap::new();
        for (id, entry) in &settings.providers {
            let same = old.get(id).filter(|old| old.is_built_of(entry, &settings.routing));
            let instance = match same {
                Some(same) => Ok(same.clone()),
                None => Upstream::build(id, entry, plugins, &settings.routing).map(Arc::new),
            };
            match instance {
                Ok(instance) => drop(instances.insert(id.clone(), instance)),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let catalog = Catalog::new(settings, instances)?.with_pauses(pauses);
        Ok(Registry { catalog, clients, spool })
    }

    /// What one attempt brings along to its plugin.
    pub fn context(&self, attempt: Uuid, deadline: Instant) -> Context {
        let http = self.spool.http(self.clients.vendor(), attempt, deadline);
        Context { http, attempt, started: Instant::now(), deadline }
    }
}
