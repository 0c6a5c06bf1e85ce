use super::*;
use crate::jobs::deletion::tests::House;
use ring::digest;
use std::time::Duration;

const HOUR_US: i64 = 3_600_000_000;

fn soon_us() -> i64 {
    jiff::Timestamp::now().as_microsecond() + HOUR_US
}

fn told() -> Audit<'static> {
    Audit { repair: false, quick: false, backup: None, young_us: 0 }
}

async fn run(house: &House, audit: Audit<'_>) -> (Audited, Vec<Finding>) {
    let mut findings = Vec::new();
    let tell = |finding: &Finding| findings.push(finding.clone());
    let seen = super::audit(&house.store, &house.images, audit, soon_us(), tell).await.unwrap();
    (seen, findings)
}

async fn overwrite(house: &House, key: &str, bytes: &'static [u8]) {
    let sha256 = hex::encode(digest::digest(&digest::SHA256, bytes));
    let wanted = Digest { bytes: bytes.len() as u64, sha256 };
    assert!(house.images.restore(key, &wanted, bytes.into()).await.unwrap());
}

#[tokio::test]
async fn where_all_is_well_nothing_is_found() {
    for house in House::both().await {
        for _ in 0..3 {
            house.stored(None).await;
        }
        let image = house.stored(None).await;
        house.images.preview(&image, 64, u64::MAX).await.unwrap().expect("a copy");
        let (seen, findings) = run(&house, Audit { repair: true, ..told() }).await;
        assert_eq!(findings, []);
        assert_eq!(seen, Audited { sound: 4, objects: 5, ..Audited::default() });
    }
}

#[tokio::test]
async fn missing_and_damaged_objects_are_found_and_restored_from_their_like() {
    for house in House::both().await {
        let (sound, missing, short, changed) = (
            house.stored(None).await,
            house.stored(None).await,
            house.stored(None).await,
            house.stored(None).await,
        );
        house.images.remove_object(&missing.object_key).await.unwrap();
        overwrite(&house, &short.object_key, b"half").await;
        let same_length: &'static [u8] = vec![b'x'; changed.bytes as usize].leak();
        overwrite(&house, &changed.object_key, same_length).await;

        let (seen, _) = run(&house, Audit { quick: true, ..told() }).await;
        assert_eq!((seen.sound, seen.missing, seen.damaged), (2, 1, 1), "lengths alone do not tell");
        let (seen, findings) = run(&house, told()).await;
        assert_eq!((seen.sound, seen.missing, seen.damaged, seen.mended), (1, 1, 2, 0));
        let kind = |image: &Image| {
            findings.iter().find(|found| found.object_key == image.object_key).map(|found| found.kind.clone())
        };
        assert_eq!(kind(&sound), None);
        assert_eq!(kind(&missing), Some(Kind::Missing { image: missing.id }));
        let says = format!("4 bytes instead of {}", short.bytes);
        assert_eq!(kind(&short), Some(Kind::Damaged { image: short.id, says }));
        assert_eq!(kind(&changed), Some(Kind::Damaged { image: changed.id, says: "another hash".into() }));
        assert!(house.images.digest(&missing.object_key).await.unwrap().is_none(), "nothing was changed");

        let (seen, _) = run(&house, Audit { repair: true, ..told() }).await;
        assert_eq!((seen.missing + seen.damaged, seen.mended), (3, 3));
        let (seen, findings) = run(&house, told()).await;
        assert_eq!((seen.sound, findings.len()), (4, 0));
    }
}

#[tokio::test]
async fn what_nobody_has_comes_from_a_backup_with_the_right_bytes_or_stays_missing() {
    for house in House::both().await {
        let image = house.stored(None).await;
        let bytes = house.images.full(&image).await.unwrap();
        house.images.remove_object(&image.object_key).await.unwrap();
        let repair = Audit { repair: true, ..told() };
        let (_, findings) = run(&house, repair).await;
        assert!(matches!(&findings[0].outcome, Outcome::Left(why) if why.contains("--from")), "{findings:?}");

        let backup = house.dir.path().join("backup");
        let file = backup.join(&image.object_key);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, b"not it").unwrap();
        let repair = Audit { backup: Some(&backup), ..repair };
        let (seen, findings) = run(&house, repair).await;
        assert_eq!(seen.mended, 0, "{findings:?}");
        std::fs::write(&file, &bytes).unwrap();
        let (_, findings) = run(&house, repair).await;
        assert_eq!(findings[0].outcome, Outcome::Restored(file.display().to_string()));
        assert_eq!(house.images.full(&image).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_object_that_nobody_knows_goes_and_what_may_be_somebodys_stays() {
    for house in House::both().await {
        let image = house.stored(None).await;
        let (running, _) = house.started().await;
        let of_running = house.kept(running).await.object_key;
        let orphan = house.kept(Uuid::new_v4()).await.object_key;
        let copy = format!("{orphan}.copies/64.webp");
        for key in [&copy, "README.md", "other/program.png"] {
            overwrite(&house, key, b"x").await;
        }
        let upload = Uuid::new_v4();
        let png = house.images.full(&image).await.unwrap();
        let unknown_upload = house.images.keep_reference("t", upload, png).await.unwrap().object_key;

        let (seen, _) = run(&house, Audit { young_us: 2 * HOUR_US, repair: true, ..told() }).await;
        assert_eq!((seen.orphans, seen.waiting, seen.strange), (0, 4, 2), "all are young");
        let (seen, findings) = run(&house, told()).await;
        assert_eq!((seen.orphans, seen.waiting, seen.strange, seen.mended), (3, 1, 2, 0));
        let mut keys: Vec<String> = findings.into_iter().map(|found| found.object_key).collect();
        keys.sort();
        let mut wanted = vec![orphan, copy, unknown_upload];
        wanted.sort();
        assert_eq!(keys, wanted);
        let (seen, _) = run(&house, Audit { repair: true, ..told() }).await;
        assert_eq!((seen.orphans, seen.mended), (3, 3));
        let mut left = house.images.list().await.unwrap().next(100).await.unwrap();
        left.sort();
        let mut wanted = vec![image.object_key, of_running, "README.md".into(), "other/program.png".into()];
        wanted.sort();
        assert_eq!(left, wanted);
    }
}

#[tokio::test]
async fn a_storage_of_somebody_else_is_not_emptied() {
    for house in House::both().await {
        let orphan = house.kept(Uuid::new_v4()).await.object_key;
        let (seen, findings) = run(&house, Audit { repair: true, ..told() }).await;
        assert_eq!((seen.orphans, seen.mended), (1, 0));
        assert!(matches!(&findings[0].outcome, Outcome::Left(why) if why.contains("belong together")));
        assert!(house.images.about(&orphan).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_deleted_image_is_not_missing() {
    for house in House::both().await {
        let image = house.stored(None).await;
        house.clock.advance(Duration::from_secs(1));
        crate::jobs::delete_image(&house.store, &house.images, None, image.id).await.unwrap();
        let (seen, findings) = run(&house, told()).await;
        assert_eq!((seen, findings), (Audited::default(), Vec::new()));
    }
}
