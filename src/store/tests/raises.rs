//! Limits that are raised for a time.

use super::*;

fn raise(team: &str, currency: Option<&str>, amount: i64) -> Raise {
    Raise {
        team: team.into(),
        currency: currency.map(Into::into),
        amount,
        since_us: 0,
        ends_us: 2_000,
        reason: "the launch".into(),
    }
}

#[tokio::test]
async fn a_raise_stands_in_place_of_the_one_before_and_ends_with_its_team() {
    everywhere(async |scene| {
        let store = &scene.store;
        for one in [raise("b", None, 5), raise("a", Some("USD"), 7), raise("a", None, 1), raise("a", None, 2)]
        {
            store.raise(one).await.unwrap();
        }
        let found: Vec<_> =
            store.raises().await.unwrap().into_iter().map(|r| (r.team, r.currency, r.amount)).collect();
        let wanted = [("a", None, 2), ("a", Some("USD"), 7), ("b", None, 5)];
        let wanted = wanted.map(|(team, currency, n)| (team.to_owned(), currency.map(str::to_owned), n));
        assert_eq!(found, wanted);
        assert_eq!(store.end_raises("a").await.unwrap(), 2);
        assert_eq!(store.end_raises("a").await.unwrap(), 0);
        assert_eq!(store.raises().await.unwrap().len(), 1);
    })
    .await
}
