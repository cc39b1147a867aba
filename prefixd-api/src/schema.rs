//! OpenAPI schemas of types that are written as text.

/// Describes a type as a string in the OpenAPI document.
macro_rules! text_schema {
    ($type:ty, $name:expr) => {
        #[cfg(feature = "server")]
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .into()
            }
        }

        #[cfg(feature = "server")]
        impl utoipa::ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    };
}
pub(crate) use text_schema;
