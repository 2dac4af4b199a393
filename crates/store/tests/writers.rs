//! Writers that share a commit: each is on its own all the same.

use std::time::Duration;

use causeway_store::Store;
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
