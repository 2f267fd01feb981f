"""Reads every record of a stream by boto3: `read_back.py URL STREAM`, one JSON line a record on standard output.

A record that is not UTF-8 ends the run with an error; one that is no JSON has `"json": null`. Keys come from the environment.
"""

import json
import sys

import boto3
from botocore.config import Config


def understood(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def shard_ids(client, stream):
    page = client.list_shards(StreamName=stream)
    while True:
        yield from (shard["ShardId"] for shard in page["Shards"])
        if "NextToken" not in page:
            return
        page = client.list_shards(NextToken=page["NextToken"])


def records(client, stream, shard):
    iterator = client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    while iterator:
        page = client.get_records(ShardIterator=iterator)
        yield from page["Records"]
        # A page may be empty before the end; only both together are the end of an open shard.
        if not page["Records"] and page.get("MillisBehindLatest", 0) == 0:
            return
        iterator = page.get("NextShardIterator")


def main(url, stream):
    config = Config(retries={"max_attempts": 3}, proxies={})
    client = boto3.client("kinesis", endpoint_url=url, region_name="us-east-1", config=config)
    for shard in shard_ids(client, stream):
        for record in records(client, stream, shard):
            text = record["Data"].decode("utf-8")
            line = {
                "shard": shard,
                "sequenceNumber": record["SequenceNumber"],
                "partitionKey": record["PartitionKey"],
                "text": text,
                "json": understood(text),
            }
            print(json.dumps(line))


if __name__ == "__main__":
    main(*sys.argv[1:])
