//! Name resolution that gives public addresses only. The client connects to what this returns and to nothing else,
//! so a name that changes its address between a check and the connection gains nothing.

use super::address;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
pub(super) type Lookup = Arc<dyn Fn(String) -> Found + Send + Sync>;

/// The machine's own resolver.
pub(super) fn system() -> Lookup {
    Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) }))
}

/// A name that leads only to places that are not public.
#[derive(Debug, thiserror::Error)]
#[error("{host} leads to {address}, which is not on the public Internet")]
pub(super) struct Blocked {
    host: String,
    address: std::net::IpAddr,
}

pub(super) struct PublicOnly {
    lookup: Lookup,
}

impl PublicOnly {
    pub fn new(lookup: Lookup) -> PublicOnly {
        PublicOnly { lookup }
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let found = (self.lookup)(host.clone());
        Box::pin(async move {
            let (public, inside): (Vec<_>, Vec<_>) =
                found.await?.into_iter().partition(|found| address::is_public(found.ip()));
            if let (true, Some(first)) = (public.is_empty(), inside.first()) {
                return Err(Blocked { host, address: first.ip() }.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Answers each question with the next list.
    pub fn scripted(answers: &[&[&str]]) -> Lookup {
        let lists: Vec<Vec<SocketAddr>> = answers
            .iter()
            .rev()
            .map(|list| list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect())
            .collect();
        let lists = Mutex::new(lists);
        Arc::new(move |_| {
            let next = lists.lock().unwrap().pop().expect("no more questions are expected");
            Box::pin(async move { Ok(next) })
        })
    }

    async fn ask(resolver: &PublicOnly) -> Result<Vec<String>, String> {
        let name = "img.example.com".parse::<Name>().unwrap();
        match resolver.resolve(name).await {
            Ok(found) => Ok(found.map(|a| a.ip().to_string()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn only_public_addresses_are_handed_to_the_client() {
        let lookup = scripted(&[&["1.1.1.1", "127.0.0.1", "::1", "2606:4700::1111"], &["10.0.0.1", "::1"]]);
        let resolver = PublicOnly::new(lookup);
        assert_eq!(ask(&resolver).await.unwrap(), ["1.1.1.1", "2606:4700::1111"]);
        let why = ask(&resolver).await.unwrap_err();
        assert!(why.contains("img.example.com") && why.contains("10.0.0.1"), "{why}");
    }

    #[tokio::test]
    async fn a_name_that_turns_to_loopback_is_refused_at_its_next_question() {
        let resolver = PublicOnly::new(scripted(&[&["1.1.1.1"], &["127.0.0.1"]]));
        assert!(ask(&resolver).await.is_ok());
        assert!(ask(&resolver).await.is_err());
    }
}
