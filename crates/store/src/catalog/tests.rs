//! Against the plainest way to do the same.

use causeway_model::command::{ListQuery, OrderField};
use causeway_model::resource::{CustomerGateway, Meta};
use causeway_model::{CustomerGatewayId, OrganizationId, ProjectId, Timestamp};

use crate::row::name_forms;
use crate::{Kind, Project, Scope, Store};

const REGION: &str = "fr-par";

/// xorshift64*: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits") % end
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

fn name(numbers: &mut Numbers) -> String {
    let parts = ["a", "B", "éÉ", "-", "paris", "PARIS-2", "%", "_", "ß", "0", "a-rather-long-part", " "];
    (0..numbers.below(4)).map(|_| numbers.of(&parts)).collect()
}

fn tags(numbers: &mut Numbers) -> Vec<String> {
    let all = ["t", "edge", "a tag of more than sixteen octets", "another tag of more than sixteen octets", "T"];
    (0..numbers.below(3)).map(|_| numbers.of(&all).to_owned()).collect()
}

async fn projects(store: &Store) -> Vec<(OrganizationId, ProjectId)> {
    let mut tx = store.write().await.expect("begins");
    let mut projects = Vec::new();
    for number in 0..3 {
        let (organization_id, id) = (OrganizationId::random(), ProjectId::random());
        let (name, description) = ("p".to_owned(), String::new());
        let (created_at, updated_at) = (Timestamp(0), Timestamp(0));
        tx.insert_organization(organization_id, "o", created_at).await.expect("inserts");
        let project =
            Project { id, organization_id, name, description, ula: [0xfd, 0, 0, 0, 0, number], created_at, updated_at };
        tx.insert_project(&project).await.expect("inserts");
        projects.push((organization_id, id));
    }
    tx.commit().await.expect("commits");
    projects
}

/// What a list has to answer, given all objects in the order of their creation.
fn expected(all: &[CustomerGateway], scope: Scope, list: &ListQuery) -> (Vec<CustomerGatewayId>, u64) {
    let mut found: Vec<(usize, &CustomerGateway)> = all
        .iter()
        .enumerate()
        .filter(|(_, object)| {
            let meta = &object.meta;
            let seen = match scope {
                Scope::All => true,
                Scope::Project(project) => project == meta.project_id,
                Scope::Nothing => false,
            };
            seen && list.project_id.is_none_or(|project| project == meta.project_id)
                && list.organization_id.is_none_or(|organization| organization == meta.organization_id)
                && list.name.as_ref().is_none_or(|name| name_forms(&meta.name).0.contains(&name.to_lowercase()))
                && (list.tags.is_empty() || meta.tags.iter().any(|tag| list.tags.contains(tag)))
        })
        .collect();
    let total = u64::try_from(found.len()).expect("few");
    match list.order {
        OrderField::Name => found.sort_by_key(|(at, object)| (name_forms(&object.meta.name).1, *at)),
        OrderField::UpdatedAt => found.sort_by_key(|(at, object)| (object.meta.updated_at, *at)),
        _ => found.sort_by_key(|(at, object)| (object.meta.created_at, *at)),
    }
    if list.descending {
        found.reverse();
    }
    let (page, size) = (list.page as usize, list.page_size as usize);
    (found.into_iter().skip((page - 1) * size).take(size).map(|(_, object)| object.id).collect(), total)
}

async fn compare(store: &Store, numbers: &mut Numbers, all: &[CustomerGateway], of: &[(OrganizationId, ProjectId)]) {
    for _ in 0..40 {
        let list = ListQuery {
            order: numbers.of(&[OrderField::CreatedAt, OrderField::UpdatedAt, OrderField::Name, OrderField::Status]),
            descending: numbers.below(2) == 0,
            page: u32::try_from(numbers.below(4)).expect("small") + 1,
            page_size: numbers.of(&[1, 2, 7, 50, 1000]),
            project_id: (numbers.below(3) == 0).then(|| numbers.of(of).1),
            organization_id: (numbers.below(4) == 0).then(|| numbers.of(of).0),
            name: (numbers.below(2) == 0).then(|| name(numbers)),
            tags: if numbers.below(2) == 0 { tags(numbers) } else { Vec::new() },
        };
        let scope = match numbers.below(8) {
            0 => Scope::Nothing,
            1..4 => Scope::All,
            _ => Scope::Project(numbers.of(of).1),
        };
        let mut reader = store.read().await.expect("begins");
        let (page, total) = reader.customer_gateways(REGION, scope, &list).await.expect("lists");
        let page: Vec<CustomerGatewayId> = page.iter().map(|object| object.id).collect();
        assert_eq!((page, total), expected(all, scope, &list), "{scope:?} {list:?}");
        let (_, elsewhere) = reader.customer_gateways("nl-ams", scope, &list).await.expect("lists");
        assert_eq!(elsewhere, 0);
    }
}

#[tokio::test]
async fn lists_are_what_a_plain_search_would_find() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let mut store = Store::open(&path).await.expect("opens");
    let projects = projects(&store).await;
    let (mut all, mut numbers) = (Vec::<CustomerGateway>::new(), Numbers(1));
    for round in 0..40 {
        let mut tx = store.write().await.expect("begins");
        let mut next = all.clone();
        for step in 0..10 {
            let now = Timestamp(round * 100 + step / 3);
            match numbers.below(5) {
                0 if !next.is_empty() => {
                    let gone = next.remove(numbers.below(next.len()));
                    tx.delete(Kind::CustomerGateway, gone.id.0).await.expect("deletes");
                }
                1 if !next.is_empty() => {
                    let at = numbers.below(next.len());
                    let meta = &mut next[at].meta;
                    (meta.name, meta.tags, meta.updated_at) = (name(&mut numbers), tags(&mut numbers), now);
                    let meta = meta.clone();
                    tx.set_meta(Kind::CustomerGateway, next[at].id.0, &meta).await.expect("renames");
                }
                _ => {
                    let (organization_id, project_id) = numbers.of(&projects);
                    let (created_at, updated_at) = (now, now);
                    let (name, tags) = (name(&mut numbers), tags(&mut numbers));
                    let region = REGION.to_owned();
                    let object = CustomerGateway {
                        id: CustomerGatewayId::random(),
                        meta: Meta { organization_id, project_id, region, name, tags, created_at, updated_at },
                        asn: 65000,
                        public_ipv4: None,
                        public_ipv6: None,
                        connection_ids: Vec::new(),
                    };
                    tx.insert_customer_gateway(&object).await.expect("inserts");
                    next.push(object);
                }
            }
        }
        if numbers.below(4) == 0 {
            drop(tx);
        } else {
            tx.commit().await.expect("commits");
            all = next;
        }
        if round % 10 == 9 {
            store.close().await;
            store = Store::open(&path).await.expect("opens again");
        }
        compare(&store, &mut numbers, &all, &projects).await;
    }
    assert!(all.len() > 50, "there is something to find: {}", all.len());
}
