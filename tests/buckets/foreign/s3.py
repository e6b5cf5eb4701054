"""S3 through boto3."""

import json

import boto3
import botocore.config
import botocore.exceptions


class S3:
    def __init__(self, url):
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"mode": "standard"})
        self.client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", config=config,
            aws_access_key_id="kvfs", aws_secret_access_key="kvfssecret",
        )

    def make(self, bucket, versioning=False):
        self.client.create_bucket(Bucket=bucket)
        if versioning:
            self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def policy(self, bucket, statements):
        self.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))

    def put(self, bucket, key, body, metadata=None, content_type=None):
        more = {"ContentType": content_type} if content_type else {}
        self.client.put_object(Bucket=bucket, Key=key, Body=bytes.fromhex(body), Metadata=metadata or {}, **more)

    def get(self, bucket, key):
        try:
            return self.client.get_object(Bucket=bucket, Key=key)["Body"].read().hex()
        except self.client.exceptions.NoSuchKey:
            return None

    def head(self, bucket, key):
        try:
            found = self.client.head_object(Bucket=bucket, Key=key)
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return {
            "size": found["ContentLength"],
            "tag": found["ETag"],
            "modified": found["LastModified"].timestamp(),
            "content_type": found.get("ContentType"),
            "metadata": found["Metadata"],
        }

    def keys(self, bucket, prefix=""):
        # Not the paginator: it decodes keys that servers did not encode.
        keys, more = [], {}
        while True:
            page = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix, **more)
            keys += [found["Key"] for found in page.get("Contents", [])]
            if not page["IsTruncated"]:
                return keys
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, bucket, key):
        self.client.delete_object(Bucket=bucket, Key=key)

    def uploads(self, bucket):
        return [found["Key"] for found in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def begin(self, bucket, key):
        return self.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]

    def tag(self, bucket, key, tags):
        self.client.put_object_tagging(
            Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]}
        )

    def tags(self, bucket, key):
        found = self.client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        return {tag["Key"]: tag["Value"] for tag in found}
