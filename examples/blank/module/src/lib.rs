//! The blank module: staff write entries, everybody reads them.
//!
//! | file | subject |
//! |---|---|
//! | `handlers` | what is done with each input |
//! | `store` | the tables, and every SQL text |
//! | `http` | the routes |

mod handlers;
mod http;
mod store;

use pangaea_blank_contracts::{Write, Written};
use pangaea_kernel::http::Edge;
use pangaea_kernel::{Definition, Module};
use utoipa_axum::router::OpenApiRouter;

/// The module, for the catalogue of a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlankModule;

impl Module for BlankModule {
    fn define(&self) -> Definition {
        Definition::new("blank")
            .migrations(store::MIGRATIONS)
            .emits::<Written>()
            .command::<Write>(handlers::write)
            .wants::<Write>(|command, keys| keys.want::<store::Entry>(&command.entry))
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        http::routes()
    }
}
