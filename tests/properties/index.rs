//! The index answers as a plain list would.

use cryptoki_sys::*;
use nodetoken::attribute::{Attributes, Template};
use nodetoken::object::{Index, Object};
use nodetoken::token::{NewObject, ObjectId, Stored};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

/// Few values, so that objects share them.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, Attributes),
    Add(Attributes),
    Remove(usize),
    RetainLabelled(u8),
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let kinds = [CKA_CLASS, CKA_ID, CKA_LABEL, CKA_SUBJECT];
    vec(proptest::option::of(0..3u8), kinds.len()).prop_map(move |values| {
        let given = kinds.into_iter().zip(values);
        given
            .filter_map(|(kind, value)| Some((kind, Box::from([value?]))))
            .collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8, attributes()).prop_map(|(id, attributes)| Step::Put(id, attributes)),
        1 => attributes().prop_map(Step::Add),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => (0..3u8).prop_map(Step::RetainLabelled),
    ]
}

/// What the index should hold: in the order of the handles.
#[derive(Default)]
struct Model(Vec<(ObjectId, CK_OBJECT_HANDLE, Attributes)>);

fn id(number: u8) -> ObjectId {
    [number; 16]
}

fn unique_id(id: &ObjectId) -> Vec<u8> {
    id.iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

fn named(mut attributes: Attributes, id: &ObjectId) -> Attributes {
    attributes.set(CKA_UNIQUE_ID, unique_id(id));
    attributes
}

impl Model {
    fn take(&mut self, step: &Step, index: &mut Index) -> Result<(), TestCaseError> {
        match step {
            Step::Put(number, attributes) => {
                let id = id(*number);
                index.put(Stored {
                    id,
                    attributes: attributes.clone(),
                });
                let handle = index.by_id(&id).unwrap().handle;
                let before = self.0.iter().position(|object| object.0 == id);
                match before {
                    Some(at) => {
                        prop_assert_eq!(self.0[at].1, handle, "its handle stays");
                        self.0[at].2 = named(attributes.clone(), &id);
                    }
                    None => {
                        let newer = self.0.iter().all(|object| object.1 < handle);
                        prop_assert!(newer, "a handle comes once");
                        self.0.push((id, handle, named(attributes.clone(), &id)));
                    }
                }
            }
            Step::Add(attributes) => {
                let id = id(100 + self.0.len() as u8);
                if self.0.iter().any(|object| object.0 == id) {
                    return Ok(());
                }
                let new = NewObject {
                    attributes: attributes.clone(),
                    secrets: Vec::new(),
                };
                let object = Object::of_session(1, id, new);
                self.0
                    .push((id, object.handle, named(attributes.clone(), &id)));
                index.add(Arc::new(object));
            }
            Step::Remove(at) => {
                let handle = match self.0.get(at % 8) {
                    Some(object) => object.1,
                    None => *at as CK_OBJECT_HANDLE,
                };
                index.remove(handle);
                self.0.retain(|object| object.1 != handle);
            }
            Step::RetainLabelled(label) => {
                let stays = |attributes: &Attributes| attributes.get(CKA_LABEL) == Some(&[*label]);
                index.retain(|object| stays(object.attributes()));
                self.0.retain(|object| stays(&object.2));
            }
        }
        Ok(())
    }

    fn find(&self, template: &Template<'_>) -> Vec<CK_OBJECT_HANDLE> {
        let matches = |attributes: &Attributes| {
            template
                .iter()
                .all(|(kind, value)| attributes.get(kind) == Some(value))
        };
        self.0
            .iter()
            .filter(|object| matches(&object.2))
            .map(|object| object.1)
            .collect()
    }
}

proptest! {
    #[test]
    fn the_index_is_a_list_that_is_fast(
        steps in vec(step(), 1..40),
        searches in vec(attributes(), 1..6),
    ) {
        let mut index = Index::default();
        let mut model = Model::default();
        for step in &steps {
            model.take(step, &mut index)?;
            let all: Vec<_> = index.iter().map(|o| (o.stored.id, o.handle, o.attributes().clone())).collect();
            prop_assert_eq!(&all, &model.0);
            for search in &searches {
                let template = Template::new(search.iter().collect()).unwrap();
                prop_assert_eq!(index.find(&template).unwrap(), model.find(&template));
            }
            for (id, handle, _) in &model.0 {
                let unique_id = unique_id(id);
                let by_name = Template::new(vec![(CKA_UNIQUE_ID, &*unique_id)]).unwrap();
                prop_assert_eq!(index.find(&by_name).unwrap(), vec![*handle]);
                prop_assert_eq!(index.get(*handle).map(|object| object.stored.id), Some(*id));
            }
        }
        for step in &steps {
            if let Step::Put(number, _) = step {
                let there = model.0.iter().any(|object| object.0 == id(*number));
                prop_assert_eq!(index.by_id(&id(*number)).is_some(), there);
            }
        }
    }
}
