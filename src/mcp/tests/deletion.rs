//! Deleting an image, and what is said about it afterwards.

use super::*;
use crate::store::State;

#[tokio::test]
async fn a_deleted_image_is_named_with_its_time_wherever_it_was_shown() {
    let scene = scene();
    let job = scene.fake.job(State::Completed);
    let image = scene.fake.views.lock()[0].images[0].id;
    let at = fake::NOW_US / 1_000;
    let deleted = scene.object("delete_image", json!({"image_id": format!("image://{image}")})).await;
    assert_eq!(
        (&deleted["success"], &deleted["image_id"], &deleted["job_id"], &deleted["deleted_at"]),
        (&json!(true), &json!(image), &json!(job), &json!(at))
    );
    let again = scene.object("delete_image", json!({"image_id": image})).await;
    assert!(again["message"].as_str().unwrap().contains("before, on 2027-01-15"), "{again}");

    let data = scene.object("get_image_data", json!({"image_id": image})).await;
    assert_eq!((&data["code"], &data["deleted_at"]), (&json!("not_found"), &json!(at)));
    let mark = json!([{"id": image, "deleted_at": at}]);
    for tool in ["get_job_status", "wait_for_completion"] {
        let answer = scene.object(tool, json!({"job_id": job})).await;
        assert_eq!((&answer["deleted"], &answer["image_url"]), (&mark, &json!(null)), "{tool}: {answer}");
    }
    assert_eq!(scene.object("list_jobs", json!({})).await["jobs"][0]["deleted"], mark);
    for (peer, code) in [(Peer::Legacy, -32002), (Peer::Modern, -32602)] {
        let read = peer.request("resources/read", json!({"uri": format!("image://{image}")}));
        let error = body(&scene.whole(read).await)["error"].clone();
        assert_eq!((&error["code"], &error["data"]["deletedAt"]), (&json!(code), &json!(at)), "{error}");
    }
}

#[tokio::test]
async fn only_who_may_write_deletes_and_a_stranger_learns_nothing() {
    let scene = scene();
    scene.fake.job(State::Completed);
    let image = scene.fake.views.lock()[0].images[0].id;
    let reader = Scene { principal: principal(&[Scope::ImagesRead]), ..scene };
    let refused = reader.whole(Peer::Legacy.call("delete_image", json!({"image_id": image}))).await;
    assert_eq!(refused.status(), 403);
    let stranger = Scene { principal: Arc::new(Principal::new("b", "key", &Scope::ALL)), ..reader };
    let theirs = stranger.object("delete_image", json!({"image_id": image})).await;
    let nobodys = stranger.object("delete_image", json!({"image_id": "x"})).await;
    assert_eq!((&theirs["code"], &theirs["error"]), (&nobodys["code"], &nobodys["error"]));
    assert_eq!(stranger.fake.views.lock()[0].images.len(), 1, "nothing happened to it");
}
