"""The store port on S3 buckets."""
