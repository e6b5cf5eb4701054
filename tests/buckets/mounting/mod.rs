//! Buckets mounted, and used by ordinary tools, with other clients at the same objects.

mod coherence;
mod large;
mod names;
mod tools;

/// Makes one test a service.
macro_rules! on_every_bucket {
    ($($(#[doc = $about:literal])* fn $name:ident($bucket:ident, $mount:ident) $body:block)*) => {$(
        $(#[doc = $about])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($bucket: &crate::bucket::Bucket, $mount: &mut crate::harness::Mount) $body
            fn on(service: crate::server::Service) {
                // Its server is started outside of the time that the test has.
                service.server();
                crate::harness::watched(crate::LIMIT, move |place| {
                    let bucket = crate::bucket::Bucket::new(service);
                    let mut mount = bucket.mount(place, &[]);
                    body(&bucket, &mut mount);
                });
            }
            #[test]
            fn ceph() {
                on(crate::server::Service::Ceph);
            }
            #[test]
            fn moto() {
                on(crate::server::Service::Moto);
            }
            #[test]
            fn azure() {
                on(crate::server::Service::Azure);
            }
            #[test]
            fn google() {
                on(crate::server::Service::Google);
            }
        }
    )*};
}
pub(crate) use on_every_bucket;
