//! The requests of S3 that mounts ask, answered from memory. One bucket, `bench`, is there.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::counts::Counts;
use crate::objects::{Metadata, Object as Stored, Objects, Upload};

/// The service over the objects.
pub struct Service {
    pub objects: Arc<Objects>,
    pub counts: Arc<Counts>,
}

/// The most entries of a page, as S3 has it.
const PAGE: i32 = 1000;

async fn received(body: Option<StreamingBlob>) -> S3Result<Vec<Bytes>> {
    let Some(body) = body else { return Ok(Vec::new()) };
    body.try_collect().await.map_err(|error| s3_error!(IncompleteBody, "{error}"))
}

fn etag(stored: &Stored) -> Option<ETag> {
    Some(ETag::Strong(stored.etag.clone()))
}

/// Whether the object that is there, if any, is what is asked for.
fn check(there: Option<&Stored>, only_if: Option<&ETagCondition>, not_if: Option<&ETagCondition>) -> S3Result<()> {
    let matches = |condition: &ETagCondition| match (condition, there) {
        (_, None) => false,
        (ETagCondition::Any, Some(_)) => true,
        (ETagCondition::ETag(tag), Some(object)) => tag.value() == object.etag,
    };
    if only_if.is_some_and(|condition| !matches(condition)) || not_if.is_some_and(matches) {
        return Err(s3_error!(PreconditionFailed));
    }
    Ok(())
}

fn time(stored: &Stored) -> Option<Timestamp> {
    stored.modified.map(Timestamp::from)
}

fn source(copy: &CopySource) -> S3Result<&str> {
    match copy {
        CopySource::Bucket { key, .. } => Ok(key),
        _ => Err(s3_error!(NotImplemented)),
    }
}

fn kept(metadata: Option<Metadata>) -> Metadata {
    metadata.unwrap_or_default()
}

impl Service {
    fn there(&self, key: &str) -> S3Result<Stored> {
        self.objects.get(key).ok_or_else(|| s3_error!(NoSuchKey))
    }

    fn part(&self, upload: &str, number: i32, part: Stored) -> S3Result<()> {
        let mut uploads = self.objects.uploads();
        let upload = uploads.get_mut(upload).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(number, part);
        Ok(())
    }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn head_bucket(&self, _: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        _: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let bucket = Bucket { name: Some("bench".to_owned()), ..Bucket::default() };
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(vec![bucket]), ..ListBucketsOutput::default() }))
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        let delimiter = request.input.delimiter.clone();
        let next_marker = |output: &ListObjectsV2Output| output.next_continuation_token.clone();
        let output = self
            .list_objects_v2(request.map_input(|input| ListObjectsV2Input {
                bucket: input.bucket,
                continuation_token: input.marker,
                delimiter: input.delimiter,
                max_keys: input.max_keys,
                prefix: input.prefix,
                ..ListObjectsV2Input::default()
            }))
            .await?
            .output;
        Ok(S3Response::new(ListObjectsOutput {
            next_marker: next_marker(&output),
            name: output.name,
            prefix: output.prefix,
            max_keys: output.max_keys,
            is_truncated: output.is_truncated,
            contents: output.contents,
            common_prefixes: output.common_prefixes,
            delimiter,
            ..ListObjectsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let most = input.max_keys.unwrap_or(PAGE).clamp(1, PAGE);
        let after = input.continuation_token.clone().or(input.start_after).unwrap_or_default();
        let page = self.objects.page(&prefix, input.delimiter.as_deref().filter(|d| !d.is_empty()), &after, most as usize);
        let object = |(key, stored): (String, Stored)| Object {
            e_tag: etag(&stored),
            last_modified: time(&stored),
            size: Some(stored.size as i64),
            key: Some(key),
            ..Object::default()
        };
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            max_keys: Some(most),
            key_count: Some((page.objects.len() + page.prefixes.len()) as i32),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            continuation_token: input.continuation_token,
            delimiter: input.delimiter,
            contents: Some(page.objects.into_iter().map(object).collect()),
            common_prefixes: Some(
                page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect(),
            ),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let stored = self.there(&request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(stored.size as i64),
            e_tag: etag(&stored),
            last_modified: time(&stored),
            content_type: stored.content_type.clone(),
            metadata: Some(stored.metadata),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let stored = self.there(&input.key)?;
        check(Some(&stored), input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let range = match &input.range {
            Some(range) => range.check(stored.size).map_err(|_| s3_error!(InvalidRange))?,
            None => 0..stored.size,
        };
        let told = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), stored.size);
        let length = range.end - range.start;
        self.counts.sent(length);
        let pieces = stored.range(range).into_iter().map(Ok::<_, std::io::Error>);
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(length as i64),
            content_range: input.range.map(|_| told),
            e_tag: etag(&stored),
            last_modified: time(&stored),
            content_type: stored.content_type,
            metadata: Some(stored.metadata),
            body: Some(StreamingBlob::wrap(futures::stream::iter(pieces))),
            ..GetObjectOutput::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let stored = Stored {
            metadata: kept(input.metadata),
            content_type: input.content_type,
            ..Stored::new(received(input.body).await?)
        };
        let e_tag = etag(&stored);
        let mut objects = self.objects.write();
        check(objects.get(&input.key), input.if_match.as_ref(), input.if_none_match.as_ref())?;
        objects.insert(input.key, stored);
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let mut objects = self.objects.write();
        check(objects.get(&request.input.key), request.input.if_match.as_ref(), None)?;
        objects.remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut objects = self.objects.write();
        let deleted = request.input.delete.objects.into_iter().map(|object| {
            objects.remove(&object.key);
            DeletedObject { key: Some(object.key), ..DeletedObject::default() }
        });
        let deleted = Some(deleted.collect());
        Ok(S3Response::new(DeleteObjectsOutput { deleted, ..DeleteObjectsOutput::default() }))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = request.input;
        let mut copy = self.there(source(&input.copy_source)?)?;
        check(Some(&copy), input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref())?;
        if input.metadata_directive.is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE) {
            copy = Stored { metadata: kept(input.metadata), content_type: input.content_type, ..copy };
        }
        copy.modified = Some(std::time::SystemTime::now());
        let result = CopyObjectResult { e_tag: etag(&copy), last_modified: time(&copy), ..CopyObjectResult::default() };
        self.objects.write().insert(input.key, copy);
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let upload = Upload { metadata: kept(input.metadata), content_type: input.content_type, ..Upload::default() };
        Ok(S3Response::new(CreateMultipartUploadOutput {
            upload_id: Some(self.objects.begin(upload)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let part = Stored::new(received(input.body).await?);
        let e_tag = etag(&part);
        self.part(&input.upload_id, input.part_number, part)?;
        Ok(S3Response::new(UploadPartOutput { e_tag, ..UploadPartOutput::default() }))
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = request.input;
        let from = self.there(source(&input.copy_source)?)?;
        check(Some(&from), input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref())?;
        let range = match &input.copy_source_range {
            Some(range) => {
                let range = Range::parse(range).map_err(|_| s3_error!(InvalidArgument))?;
                range.check(from.size).map_err(|_| s3_error!(InvalidRange))?
            }
            None => 0..from.size,
        };
        let part = Stored::new(from.range(range));
        let result =
            CopyPartResult { e_tag: etag(&part), last_modified: time(&part), ..CopyPartResult::default() };
        self.part(&input.upload_id, input.part_number, part)?;
        Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let mut objects = self.objects.write();
        check(objects.get(&input.key), input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let mut uploads = self.objects.uploads();
        let upload = uploads.remove(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let joined = Stored::joined(upload.parts.into_values().collect());
        let stored = Stored { metadata: upload.metadata, content_type: upload.content_type, ..joined };
        let e_tag = etag(&stored);
        objects.insert(input.key.clone(), stored);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            e_tag,
            bucket: Some(input.bucket),
            key: Some(input.key),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.objects.uploads().remove(&request.input.upload_id);
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
