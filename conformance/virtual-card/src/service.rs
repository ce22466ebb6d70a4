//! The chip of a card: the Trussed service that the PIV applet keeps its keys and PINs in.

use crate::flash;
use littlefs2::path;
use piv_authenticator::{Authenticator, Options};
use rand_chacha::ChaCha8Rng;
use rand_core::{OsRng, SeedableRng};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use trussed::ClientImplementation;
use trussed::backend::{Backend, BackendId};
use trussed::pipe::{ServiceEndpoint, TrussedChannel};
use trussed::platform::{Platform, Syscall};
use trussed::serde_extensions::{ExtensionDispatch, ExtensionId, ExtensionImpl};
use trussed::service::{Service, ServiceResources};
use trussed::types::{Context, CoreContext};
use trussed::virt::{Store, StoreConfig, UserInterface};
use trussed_auth::AuthExtension;
use trussed_auth_backend::{AuthBackend, AuthContext, FilesystemLayout};
use trussed_chunked::ChunkedExtension;
use trussed_core::Error;
use trussed_core::api::{Reply, Request, reply, request};
use trussed_core::types::Location;
use trussed_hpke::HpkeExtension;
use trussed_rsa_alloc::SoftwareRsa;
use trussed_staging::{StagingBackend, StagingContext};
use trussed_wrap_key_to_file::WrapKeyToFileExtension;

/// The PIV applet, as it runs on this chip.
pub type Applet<'a> = Authenticator<ClientImplementation<'static, Call<'a>, Parts>>;

/// The parts of the service beside Trussed's core.
pub struct Parts {
    pins: AuthBackend,
    files: StagingBackend,
}

/// What the parts remember of one client.
#[derive(Default)]
pub struct Memory {
    pins: AuthContext,
    files: StagingContext,
}

pub enum Part {
    Pins,
    Files,
    Rsa,
}

/// In the order in which they are asked.
const PARTS: &[BackendId<Part>] = &[
    BackendId::Custom(Part::Files),
    BackendId::Custom(Part::Pins),
    BackendId::Custom(Part::Rsa),
    BackendId::Core,
];

#[derive(Clone, Copy)]
pub enum Extension {
    Auth = 0,
    Chunked = 1,
    Hpke = 2,
    WrapKeyToFile = 3,
}

impl From<Extension> for u8 {
    fn from(extension: Extension) -> u8 {
        extension as u8
    }
}

impl TryFrom<u8> for Extension {
    type Error = Error;

    fn try_from(number: u8) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Auth),
            1 => Ok(Self::Chunked),
            2 => Ok(Self::Hpke),
            3 => Ok(Self::WrapKeyToFile),
            _ => Err(Error::InternalError),
        }
    }
}

impl ExtensionId<AuthExtension> for Parts {
    type Id = Extension;
    const ID: Extension = Extension::Auth;
}

impl ExtensionId<ChunkedExtension> for Parts {
    type Id = Extension;
    const ID: Extension = Extension::Chunked;
}

impl ExtensionId<HpkeExtension> for Parts {
    type Id = Extension;
    const ID: Extension = Extension::Hpke;
}

impl ExtensionId<WrapKeyToFileExtension> for Parts {
    type Id = Extension;
    const ID: Extension = Extension::WrapKeyToFile;
}

impl ExtensionDispatch for Parts {
    type BackendId = Part;
    type Context = Memory;
    type ExtensionId = Extension;

    fn core_request<P: Platform>(
        &mut self,
        part: &Part,
        context: &mut Context<Memory>,
        request: &Request,
        resources: &mut ServiceResources<P>,
    ) -> Result<Reply, Error> {
        let Context { core, backends, .. } = context;
        match part {
            Part::Pins => self
                .pins
                .request(core, &mut backends.pins, request, resources),
            Part::Files => self
                .files
                .request(core, &mut backends.files, request, resources),
            Part::Rsa => SoftwareRsa.request(core, &mut (), request, resources),
        }
    }

    fn extension_request<P: Platform>(
        &mut self,
        part: &Part,
        extension: &Extension,
        context: &mut Context<Memory>,
        request: &request::SerdeExtension,
        resources: &mut ServiceResources<P>,
    ) -> Result<reply::SerdeExtension, Error> {
        let Context { core, backends, .. } = context;
        let (pins, files) = (&mut backends.pins, &mut backends.files);
        match (part, extension) {
            (Part::Pins, Extension::Auth) => self
                .pins
                .extension_request_serialized(core, pins, request, resources),
            (Part::Files, Extension::Chunked) => {
                ExtensionImpl::<ChunkedExtension>::extension_request_serialized(
                    &mut self.files,
                    core,
                    files,
                    request,
                    resources,
                )
            }
            (Part::Files, Extension::Hpke) => {
                ExtensionImpl::<HpkeExtension>::extension_request_serialized(
                    &mut self.files,
                    core,
                    files,
                    request,
                    resources,
                )
            }
            (Part::Files, Extension::WrapKeyToFile) => {
                ExtensionImpl::<WrapKeyToFileExtension>::extension_request_serialized(
                    &mut self.files,
                    core,
                    files,
                    request,
                    resources,
                )
            }
            _ => Err(Error::RequestNotAvailable),
        }
    }
}

/// What the service runs on.
struct Board<'a> {
    random: ChaCha8Rng,
    store: Store<'a>,
    user: UserInterface,
}

impl<'a> Platform for Board<'a> {
    type R = ChaCha8Rng;
    type S = Store<'a>;
    type UI = UserInterface;

    fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.random
    }

    fn store(&self) -> Store<'a> {
        self.store
    }

    fn user_interface(&mut self) -> &mut UserInterface {
        &mut self.user
    }
}

/// The service and the one client that it has at a time.
struct Running<'a> {
    service: Service<Board<'a>, Parts>,
    client: Option<ServiceEndpoint<'static, Part, Memory>>,
}

/// A call of the client, served at once in its own thread.
pub struct Call<'a>(Rc<RefCell<Running<'a>>>);

impl Syscall for Call<'_> {
    fn syscall(&mut self) {
        let running = &mut *self.0.borrow_mut();
        running.service.process(running.client.as_mut_slice());
    }
}

/// A chip whose keys and PINs are in files of a directory.
pub struct Chip<'a> {
    running: Rc<RefCell<Running<'a>>>,
    store: Store<'a>,
}

impl Chip<'_> {
    /// Runs `body` with the chip of this directory, which is made when it is empty.
    pub fn with<R>(directory: &Path, body: impl FnOnce(Chip) -> R) -> R {
        let open = |name| flash::open(&directory.join(name)).expect("a file for the card");
        let mut stores = StoreConfig {
            internal: open("internal"),
            external: open("external"),
            volatile: flash::working(),
        };
        stores.with_store(|store| {
            let random = ChaCha8Rng::from_rng(OsRng).expect("random numbers of the system");
            let board = Board {
                random,
                store,
                user: UserInterface::new(),
            };
            let parts = Parts {
                pins: AuthBackend::new(Location::Internal, FilesystemLayout::V0),
                files: StagingBackend::new(),
            };
            let running = Rc::new(RefCell::new(Running {
                service: Service::with_dispatch(board, parts),
                client: None,
            }));
            body(Chip { running, store })
        })
    }
}

impl<'a> Chip<'a> {
    /// Whether its working memory is nearly full.
    pub fn is_crowded(&self) -> bool {
        let left = self.store.volatile.available_blocks();
        left.is_ok_and(|left| left < flash::FEW_BLOCKS)
    }

    /// The applet as it is after power has come: nobody is logged in.
    ///
    /// A channel of Trussed serves one client and is borrowed for good, so each costs 2.5 kB.
    pub fn power_up(&self) -> Applet<'a> {
        // Each login has left a key there; there is nothing before the first.
        let _ = self.store.volatile.remove_dir_all(path!("piv"));
        let channel: &'static TrussedChannel = Box::leak(Box::default());
        let (requester, responder) = channel.split().expect("a channel that is new");
        let core = CoreContext::new("piv".try_into().expect("a short name"));
        self.running.borrow_mut().client = Some(ServiceEndpoint::new(responder, core, PARTS));
        let client = ClientImplementation::new(requester, Call(Rc::clone(&self.running)), None);
        Authenticator::new(client, Options::new())
    }
}
