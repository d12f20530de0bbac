//! redis-rs with real work: `redis-rs-work PORT GROUP SENTINEL,SENTINEL,...`. Ends with `all fine`, or with a panic.
//!
//! Synchronous and asynchronous connections in RESP2 and RESP3, pipelines, transactions, scripts, streams, messages,
//! scans, a connection manager, and the sentinel client.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use redis::sentinel::{Sentinel, SentinelClient, SentinelServerType};
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{
    AsyncCommands, Client, Commands, ErrorKind, RedisResult, Script, ServerErrorKind, Value,
};

fn types(connection: &mut redis::Connection) -> RedisResult<()> {
    redis::cmd("FLUSHALL").exec(connection)?;
    let _: () = connection.set_ex("s", "v", 100)?;
    assert_eq!(connection.get::<_, String>("s")?, "v");
    assert_eq!(connection.get::<_, Option<String>>("nothing")?, None);
    assert!(connection.ttl::<_, i64>("s")? > 90);
    let _: () = connection.hset_multiple("h", &[("a", 1), ("b", 2)])?;
    let hash: HashMap<String, i64> = connection.hgetall("h")?;
    assert_eq!(hash, HashMap::from([("a".into(), 1), ("b".into(), 2)]));
    let _: () = connection.rpush("l", &[1, 2, 3])?;
    assert_eq!(connection.lrange::<_, Vec<i64>>("l", 0, -1)?, [1, 2, 3]);
    let _: () = connection.sadd("t", &["x", "y"])?;
    assert_eq!(connection.smembers::<_, BTreeSet<String>>("t")?.len(), 2);
    let _: () = connection.zadd_multiple("z", &[(1.0, "one"), (0.5, "half")])?;
    let ranked: Vec<(String, f64)> = connection.zrange_withscores("z", 0, -1)?;
    assert_eq!(ranked, [("half".to_string(), 0.5), ("one".to_string(), 1.0)]);
    let bytes: Vec<u8> = (0..=255).collect();
    let _: () = connection.set("binary", &bytes)?;
    assert_eq!(connection.get::<_, Vec<u8>>("binary")?, bytes);
    let refused = connection.lpush::<_, _, i64>("s", 1).expect_err("a string is no list");
    assert_eq!(refused.code(), Some("WRONGTYPE"));
    let refused = connection.incr::<_, _, i64>("s", 1).expect_err("not a number");
    assert_eq!(refused.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
    for number in 0..500 {
        let _: () = connection.set(format!("scan:{number}"), number)?;
    }
    let seen: BTreeSet<String> = connection.scan_match("scan:*")?.collect::<RedisResult<_>>()?;
    assert_eq!(seen.len(), 500);
    Ok(())
}

fn several_at_once(connection: &mut redis::Connection) -> RedisResult<()> {
    let (first, second): (i64, i64) = redis::pipe()
        .cmd("SET")
        .arg("n")
        .arg(40)
        .ignore()
        .incr("n", 1)
        .incr("n", 1)
        .query(connection)?;
    assert_eq!((first, second), (41, 42));
    let (after,): (i64,) = redis::transaction(connection, &["n"], |connection, pipe| {
        let old: i64 = connection.get("n")?;
        pipe.set("n", old * 2).ignore().get("n").query(connection)
    })?;
    assert_eq!(after, 84);
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    assert_eq!(script.key("n").arg(16).invoke::<i64>(connection)?, 100);
    redis::cmd("SCRIPT").arg("FLUSH").exec(connection)?;
    assert_eq!(script.key("n").arg(1).invoke::<i64>(connection)?, 101);
    Ok(())
}

fn streams(connection: &mut redis::Connection) -> RedisResult<()> {
    let _: () = connection.xgroup_create_mkstream("st", "g", "$")?;
    let id: String = connection.xadd("st", "*", &[("a", "1"), ("b", "2")])?;
    let options = StreamReadOptions::default().group("g", "me").count(10);
    let read: StreamReadReply = connection.xread_options(&["st"], &[">"], &options)?;
    assert_eq!(read.keys[0].ids[0].id, id);
    assert_eq!(read.keys[0].ids[0].get::<String>("b").as_deref(), Some("2"));
    assert_eq!(connection.xack::<_, _, _, i64>("st", "g", &[&id])?, 1);
    Ok(())
}

fn messages(client: &Client, connection: &mut redis::Connection) -> RedisResult<()> {
    let mut listener = client.get_connection()?;
    let mut channels = listener.as_pubsub();
    channels.set_read_timeout(Some(Duration::from_secs(30)))?;
    channels.subscribe("news")?;
    channels.psubscribe("n?ws")?;
    assert_eq!(connection.publish::<_, _, i64>("news", "hello")?, 2);
    for _ in 0..2 {
        let message = channels.get_message()?;
        assert_eq!(
            (message.get_channel_name(), message.get_payload::<String>()?),
            ("news", "hello".into())
        );
    }
    Ok(())
}

async fn at_once(client: &Client, resp3: bool) -> RedisResult<()> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut tasks = Vec::new();
    for number in 0..200_i64 {
        let mut connection = connection.clone();
        tasks.push(tokio::spawn(async move {
            let _: () = connection.set(format!("async:{number}"), number).await?;
            connection.get::<_, i64>(format!("async:{number}")).await
        }));
    }
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.expect("no panic")?, number as i64);
    }
    let mut listener = client.get_async_pubsub().await?;
    listener.subscribe("async-news").await?;
    let _: i64 = connection.publish("async-news", "hi").await?;
    let heard = tokio::time::timeout(Duration::from_secs(30), listener.on_message().next()).await;
    assert_eq!(heard.expect("in time").expect("a message").get_payload::<String>()?, "hi");
    let mut manager = client.get_connection_manager().await?;
    let id: i64 = redis::cmd("CLIENT").arg("ID").query_async(&mut manager).await?;
    let _: i64 =
        redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).query_async(&mut connection).await?;
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while redis::cmd("PING").query_async::<String>(&mut manager).await.is_err() {
        assert!(tokio::time::Instant::now() < end, "the manager connects again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waiting = tokio::spawn({
        let mut blocked = client.get_multiplexed_async_connection().await?;
        async move {
            redis::cmd("BLPOP")
                .arg("queue")
                .arg(30)
                .query_async::<(String, String)>(&mut blocked)
                .await
        }
    });
    let _: i64 = connection.rpush("queue", "job").await?;
    // The library gives up after half a second unless told otherwise; either way the server has answered or kept the job.
    match waiting.await.expect("no panic") {
        Ok(popped) => assert_eq!(popped, ("queue".into(), "job".into())),
        Err(error) => assert!(error.is_timeout(), "{error}"),
    }
    let hello: Value = redis::cmd("HELLO").query_async(&mut connection).await?;
    assert_eq!(matches!(hello, Value::Map(_)), resp3);
    Ok(())
}

fn through_sentinels(group: &str, sentinels: &[String]) -> RedisResult<()> {
    let urls: Vec<String> = sentinels.iter().map(|address| format!("redis://{address}")).collect();
    let mut sentinel = Sentinel::build(urls.clone())?;
    let mut master = sentinel.master_for(group, None)?.get_connection()?;
    let _: () = master.set("through", "sentinel")?;
    let mut replica = sentinel.replica_for(group, None)?.get_connection()?;
    let role: Vec<Value> = redis::cmd("ROLE").query(&mut replica)?;
    assert_eq!(redis::from_redis_value::<String>(role[0].clone())?, "slave");
    let mut client =
        SentinelClient::build(urls, group.to_string(), None, SentinelServerType::Master)?;
    assert_eq!(client.get_connection()?.get::<_, String>("through")?, "sentinel");
    Ok(())
}

#[tokio::main]
async fn main() -> RedisResult<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, group, sentinels] = &arguments[..] else { panic!("PORT GROUP SENTINELS") };
    for protocol in ["resp2", "resp3"] {
        let client = Client::open(format!("redis://127.0.0.1:{port}/?protocol={protocol}"))?;
        let mut connection = client.get_connection()?;
        types(&mut connection)?;
        several_at_once(&mut connection)?;
        streams(&mut connection)?;
        messages(&client, &mut connection)?;
        at_once(&client, protocol == "resp3").await?;
    }
    let sentinels: Vec<String> = sentinels.split(',').map(str::to_string).collect();
    through_sentinels(group, &sentinels)?;
    println!("all fine");
    Ok(())
}
