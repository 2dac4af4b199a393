//! The objects of one kind, column by column, so that a look at one column of all of them reads memory in a row.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use causeway_model::command::{ListQuery, OrderField};
use uuid::Uuid;

use super::names::Names;
use super::spec::{Form, Spec};

/// A value as filters compare it: ids as they are, texts of up to 15 octets in themselves, longer ones by a keyed hash of 120 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u128);

impl Key {
    /// NULL, which equals nothing that is asked for.
    pub(super) const NULL: Self = Self(u128::MAX);

    /// An id.
    pub(super) const fn id(id: Uuid) -> Self {
        Self(id.as_u128())
    }
}

/// Makes keys of texts. The hash is keyed, so that nobody can make two texts that it takes for one.
#[derive(Debug, Default)]
pub(super) struct Keys(RandomState, RandomState);

impl Keys {
    /// A text's key.
    pub(super) fn text(&self, text: &str) -> Key {
        let mut octets = [0; 16];
        if let Some(short) = octets.get_mut(..text.len()).filter(|_| text.len() < 16) {
            short.copy_from_slice(text.as_bytes());
            octets[15] = u8::try_from(text.len()).unwrap_or(u8::MAX);
            return Key(u128::from_be_bytes(octets));
        }
        let hash = u128::from(self.0.hash_one(text)) << 64 | u128::from(self.1.hash_one(text));
        // No short text ends so.
        Key(hash | 0xfe)
    }
}

/// A value to filter by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// An id.
    Id(Uuid),
    /// A text.
    Text(String),
}

/// Objects whose column holds any of some values; without values, every object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    column: &'static str,
    any: Vec<Value>,
}

impl Filter {
    /// By ids.
    pub(crate) fn ids(column: &'static str, ids: impl IntoIterator<Item = Uuid>) -> Self {
        Self { column, any: ids.into_iter().map(Value::Id).collect() }
    }

    /// By texts.
    pub(crate) fn texts<T: Into<String>>(column: &'static str, texts: impl IntoIterator<Item = T>) -> Self {
        Self { column, any: texts.into_iter().map(|text| Value::Text(text.into())).collect() }
    }

    /// By a truth value.
    pub(crate) fn flag(column: &'static str, flag: Option<bool>) -> Self {
        Self::texts(column, flag.map(|flag| if flag { "1" } else { "0" }))
    }
}

/// What the catalogue knows of one object.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) region: Key,
    pub(super) project: Key,
    pub(super) organization: Key,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) folded: Box<str>,
    /// Where in `folded` the name to sort by begins.
    pub(super) sort_from: usize,
    pub(super) tags: Box<[Key]>,
    /// One for each column of the kind, and its text where the kind is sorted by it.
    pub(super) cells: Vec<(Cell, Option<Box<str>>)>,
}

/// One column of one object.
#[derive(Debug)]
pub(super) enum Cell {
    /// One value.
    One(Key),
    /// Any number of values.
    Many(Box<[Key]>),
}

/// One column of all objects.
#[derive(Debug)]
enum Cells {
    One(Vec<Key>),
    Many(Vec<Box<[Key]>>),
}

/// Whose objects, and which: what every list asks.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) region: Key,
    pub(super) projects: Vec<Key>,
    pub(super) organization: Option<Key>,
}

/// All objects of a kind. A slot is free while its `seq` is 0.
#[derive(Debug)]
pub(super) struct Table {
    spec: &'static Spec,
    slots: HashMap<i64, usize>,
    free: Vec<usize>,
    seq: Vec<i64>,
    region: Vec<Key>,
    project: Vec<Key>,
    organization: Vec<Key>,
    created: Vec<i64>,
    updated: Vec<i64>,
    names: Names,
    tags: Vec<Box<[Key]>>,
    columns: Vec<Cells>,
    /// The words of the columns that lists are sorted by: few, since they are enumerations or the operator's.
    words: HashMap<Key, Box<str>>,
}

impl Table {
    pub(super) fn new(spec: &'static Spec) -> Self {
        let cells = |form| if form == Form::Ids { Cells::Many(Vec::new()) } else { Cells::One(Vec::new()) };
        Self {
            spec,
            slots: HashMap::new(),
            free: Vec::new(),
            seq: Vec::new(),
            region: Vec::new(),
            project: Vec::new(),
            organization: Vec::new(),
            created: Vec::new(),
            updated: Vec::new(),
            names: Names::default(),
            tags: Vec::new(),
            columns: spec.columns.iter().map(|column| cells(column.form)).collect(),
            words: HashMap::new(),
        }
    }

    /// How many slots a look at everything goes through.
    pub(super) fn len(&self) -> usize {
        self.seq.len()
    }

    /// Makes an object what `entry` says; `None`: it is no more.
    pub(super) fn put(&mut self, seq: i64, entry: Option<Entry>) {
        match entry {
            Some(entry) => {
                let slot = self.slots.get(&seq).copied().or_else(|| self.free.pop()).unwrap_or_else(|| self.grow());
                self.slots.insert(seq, slot);
                self.fill(slot, seq, entry);
            }
            None => {
                let Some(slot) = self.slots.remove(&seq) else { return };
                self.seq[slot] = 0;
                self.names.set(slot, "", 0);
                self.tags[slot] = Box::default();
                self.free.push(slot);
            }
        }
    }

    fn grow(&mut self) -> usize {
        self.seq.push(0);
        for column in [&mut self.region, &mut self.project, &mut self.organization] {
            column.push(Key::NULL);
        }
        self.created.push(0);
        self.updated.push(0);
        self.names.grow();
        self.tags.push(Box::default());
        for column in &mut self.columns {
            match column {
                Cells::One(values) => values.push(Key::NULL),
                Cells::Many(values) => values.push(Box::default()),
            }
        }
        self.seq.len() - 1
    }

    fn fill(&mut self, slot: usize, seq: i64, entry: Entry) {
        self.seq[slot] = seq;
        self.region[slot] = entry.region;
        self.project[slot] = entry.project;
        self.organization[slot] = entry.organization;
        self.created[slot] = entry.created;
        self.updated[slot] = entry.updated;
        self.names.set(slot, &entry.folded, entry.sort_from);
        self.tags[slot] = entry.tags;
        for (column, (cell, word)) in self.columns.iter_mut().zip(entry.cells) {
            match (column, cell) {
                (Cells::One(values), Cell::One(value)) => {
                    values[slot] = value;
                    if let Some(word) = word {
                        self.words.entry(value).or_insert(word);
                    }
                }
                (Cells::Many(values), Cell::Many(value)) => values[slot] = value,
                // The specification decides both.
                (Cells::One(_), Cell::Many(_)) | (Cells::Many(_), Cell::One(_)) => {}
            }
        }
    }

    /// The `seq`s of a page in its order, and how many objects match.
    pub(super) fn page(&self, keys: &Keys, wanted: &Wanted, list: &ListQuery, filters: &[Filter]) -> (Vec<i64>, usize) {
        // A search says first what else has to be looked at.
        let name = list.name.as_ref().filter(|name| !name.is_empty() && self.spec.names.0 != "''");
        let named = name.map(|name| self.names.containing(&name.to_lowercase()));
        let shown = |slot: &usize| self.seq[*slot] != 0 && self.region[*slot] == wanted.region;
        let mut found: Vec<usize> = match named {
            Some(named) => named.into_iter().filter(shown).collect(),
            None => (0..self.seq.len()).filter(shown).collect(),
        };
        for project in &wanted.projects {
            found.retain(|slot| self.project[*slot] == *project);
        }
        if let Some(organization) = wanted.organization {
            found.retain(|slot| self.organization[*slot] == organization);
        }
        for filter in filters.iter().filter(|filter| !filter.any.is_empty()) {
            self.narrow(&mut found, keys, filter);
        }
        if !list.tags.is_empty() {
            let any: HashSet<Key> = list.tags.iter().map(|tag| keys.text(tag)).collect();
            found.retain(|slot| self.tags[*slot].iter().any(|tag| any.contains(tag)));
        }
        (self.sorted(&found, list), found.len())
    }

    fn narrow(&self, found: &mut Vec<usize>, keys: &Keys, filter: &Filter) {
        let any = filter.any.iter().map(|value| match value {
            Value::Id(id) => Key::id(*id),
            Value::Text(text) => keys.text(text),
        });
        let mut any: Vec<Key> = any.filter(|key| *key != Key::NULL).collect();
        any.sort_unstable_by_key(|key| key.0);
        let among = |key: &Key| match any.as_slice() {
            [only] => key == only,
            _ => any.binary_search_by_key(&key.0, |key| key.0).is_ok(),
        };
        match self.column(filter.column) {
            Some(Cells::One(values)) => found.retain(|slot| among(&values[*slot])),
            Some(Cells::Many(values)) => found.retain(|slot| values[*slot].iter().any(among)),
            None => found.clear(),
        }
    }

    fn column(&self, name: &str) -> Option<&Cells> {
        let at = self.spec.columns.iter().position(|column| column.name == name);
        debug_assert!(at.is_some(), "{} has no column {name}", self.spec.table);
        self.columns.get(at?)
    }

    /// The page of the objects in `found`.
    fn sorted(&self, found: &[usize], list: &ListQuery) -> Vec<i64> {
        let by_time = |times: &[i64]| paged(found.iter().map(|slot| (times[*slot], self.seq[*slot])).collect(), list);
        let special = self.spec.orders.iter().find(|(field, _)| *field == list.order);
        if let Some(Cells::One(values)) = special.and_then(|(_, name)| self.column(name)) {
            let mut words: Vec<(&str, Key)> = self.words.iter().map(|(key, word)| (&**word, *key)).collect();
            words.sort_unstable_by_key(|(word, _)| *word);
            let ranks: HashMap<Key, usize> =
                words.into_iter().enumerate().map(|(rank, (_, key))| (key, rank)).collect();
            let rank = |slot: usize| ranks.get(&values[slot]).copied();
            return paged(found.iter().map(|slot| (rank(*slot), self.seq[*slot])).collect(), list);
        }
        match list.order {
            OrderField::UpdatedAt => by_time(&self.updated),
            OrderField::Name if self.spec.names.0 != "''" => {
                paged(found.iter().map(|slot| (self.names.order(*slot), self.seq[*slot])).collect(), list)
            }
            OrderField::Name
            | OrderField::CreatedAt
            | OrderField::Type
            | OrderField::Status
            | OrderField::AttachedAt
            | OrderField::Address
            | OrderField::MacAddress
            | OrderField::Destination
            | OrderField::PrefixLength => by_time(&self.created),
        }
    }
}

/// The page of `items`, sorted by their first, then their `seq`. Only what is on the page is sorted.
fn paged<K: Ord>(mut items: Vec<(K, i64)>, list: &ListQuery) -> Vec<i64> {
    let size = usize::try_from(list.page_size).unwrap_or(usize::MAX);
    let offset = usize::try_from(list.page.max(1) - 1).unwrap_or(usize::MAX).saturating_mul(size);
    if offset >= items.len() {
        return Vec::new();
    }
    let compare = |a: &(K, i64), b: &(K, i64)| if list.descending { b.cmp(a) } else { a.cmp(b) };
    if offset > 0 {
        items.select_nth_unstable_by(offset, compare);
        items.drain(..offset);
    }
    if size < items.len() {
        items.select_nth_unstable_by(size, compare);
        items.truncate(size);
    }
    items.sort_unstable_by(compare);
    items.into_iter().map(|(_, seq)| seq).collect()
}
