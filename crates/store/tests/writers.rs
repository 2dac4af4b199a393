//! Writers that share a commit: each is on its own all the same.

use std::time::Duration;

use causeway_model::resource::{Meta, Vpc};
use causeway_model::{OrganizationId, ProjectId, Timestamp, VpcId};
use causeway_store::{Project, Store};
use tokio::task::JoinSet;

async fn store() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    (Store::open(&directory.path().join("store.db")).await.expect("opens"), directory)
}

async fn setting(store: &Store, key: &str) -> Option<String> {
    store.read().await.expect("begins").setting(key).await.expect("reads")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_each_keeps_or_leaves_its_own_changes() {
    let (store, directory) = store().await;
    let mut writers = JoinSet::new();
    for number in 0..200_u32 {
        let store = store.clone();
        writers.spawn(async move {
            let mut tx = store.write().await.expect("gets a turn");
            let seen = tx.setting("count").await.expect("reads").map_or(0, |text| text.parse().expect("a number"));
            tx.set_setting("count", &(seen + 1_u32).to_string()).await.expect("writes");
            tx.set_setting(&format!("of {number}"), "1").await.expect("writes");
            // A third gives up: dropped, or by an error of the database.
            if number % 3 == 0 {
                if number % 2 == 0 {
                    tx.insert_zone("a", "r", 0, &[]).await.expect("writes");
                    tx.insert_zone("a", "r", 0, &[]).await.expect_err("the zone is there");
                }
                return;
            }
            tx.commit().await.expect("commits");
            assert_eq!(setting(&store, &format!("of {number}")).await.as_deref(), Some("1"), "answered is committed");
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("no panic");
    }
    let kept = (0..200).filter(|number| number % 3 != 0).count();
    assert_eq!(setting(&store, "count").await, Some(kept.to_string()), "no change was lost, none was left behind");
    store.close().await;
    let store = Store::open(&directory.path().join("store.db")).await.expect("opens again");
    for number in 0..200 {
        assert_eq!(setting(&store, &format!("of {number}")).await.is_some(), number % 3 != 0, "{number}");
    }
}

#[tokio::test]
async fn whoever_stops_waiting_blocks_nobody_and_is_committed_once_he_asked_for_it() {
    let (store, _directory) = store().await;
    let mut first = store.write().await.expect("begins");
    first.set_setting("first", "1").await.expect("writes");
    let mut queue = Vec::new();
    for _ in 0..5 {
        let store = store.clone();
        queue.push(tokio::spawn(async move { store.write().await.expect("gets a turn") }));
    }
    tokio::task::yield_now().await;
    queue.iter().for_each(tokio::task::JoinHandle::abort);
    // Nobody waits for this answer.
    let _ = tokio::time::timeout(Duration::ZERO, first.commit()).await;
    let mut second = store.write().await.expect("gets a turn");
    second.set_setting("second", "1").await.expect("writes");
    second.commit().await.expect("commits");
    assert_eq!(setting(&store, "first").await.as_deref(), Some("1"));
    assert_eq!(setting(&store, "second").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn gathered_changes_are_seen_by_the_next_look_and_kept_or_left_as_one() {
    let (store, _directory) = store().await;
    let now = Timestamp(0);
    let organization = OrganizationId::random();
    let mut tx = store.write().await.expect("begins").gathering();
    tx.insert_organization(organization, "o", now).await.expect("writes");
    let project = Project {
        id: ProjectId::random(),
        organization_id: organization,
        name: "p".to_owned(),
        description: String::new(),
        ula: [0xfd, 0, 0, 0, 0, 1],
        created_at: now,
        updated_at: now,
    };
    tx.insert_project(&project).await.expect("writes");
    tx.emit(now, "kind", "one", "object").await.expect("waits");
    assert_eq!(tx.newest_event().await.expect("reads"), 1, "a look takes along what waited");
    tx.emit(now, "kind", "two", "object").await.expect("waits");
    tx.commit().await.expect("commits");
    let newest = async || store.read().await.expect("begins").newest_event().await.expect("reads");
    assert_eq!(newest().await, 2, "so does the commit");

    let mut left = store.write().await.expect("begins").gathering();
    left.emit(now, "kind", "left", "object").await.expect("waits");
    drop(left);
    let mut many = store.write().await.expect("begins").gathering();
    for _ in 0..100 {
        many.emit(now, "kind", "many", "object").await.expect("waits");
    }
    many.commit().await.expect("commits");
    assert_eq!(newest().await, 102, "what was left is not there, and many are");

    let vpc = |region: &str| Vpc {
        id: VpcId::random(),
        meta: Meta {
            organization_id: organization,
            project_id: project.id,
            region: region.to_owned(),
            name: "v".to_owned(),
            tags: vec!["a".to_owned(), "b".to_owned(), "a".to_owned()],
            created_at: now,
            updated_at: now,
        },
        is_default: true,
        custom_routes_propagation_enabled: true,
        private_network_count: 0,
    };
    let mut refused = store.write().await.expect("begins").gathering();
    refused.insert_vpc(&vpc("r")).await.expect("waits");
    refused.emit(now, "kind", "before", "object").await.expect("waits");
    refused.insert_vpc(&vpc("r")).await.expect("waits: that there is a default already is seen when it goes");
    let error = refused.newest_event().await.expect_err("the second default");
    assert!(error.is_unique_violation(), "{error}");
    refused.commit().await.expect_err("half of it may be done");
    assert_eq!(newest().await, 102);
    let mut refused = store.write().await.expect("begins").gathering();
    refused.insert_vpc(&vpc("r")).await.expect("waits");
    refused.insert_vpc(&vpc("r")).await.expect("waits");
    assert!(refused.commit().await.expect_err("the second default").is_unique_violation());
    let mut good = store.write().await.expect("begins").gathering();
    good.insert_vpc(&vpc("r")).await.expect("waits");
    good.commit().await.expect("nothing of the others is there");
}

#[tokio::test]
async fn nothing_is_written_after_the_end() {
    let (store, directory) = store().await;
    let mut left = store.write().await.expect("begins");
    left.set_setting("left", "1").await.expect("writes");
    drop(left);
    store.close().await;
    store.write().await.err().expect("it is closed");
    let store = Store::open(&directory.path().join("store.db")).await.expect("opens again");
    assert_eq!(setting(&store, "left").await, None);
}
