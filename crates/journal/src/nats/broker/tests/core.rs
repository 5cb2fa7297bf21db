use futures_util::StreamExt;

use super::*;

#[tokio::test]
async fn a_request_is_answered_by_whoever_listens() {
    let (cluster, broker) = one().await;
    let other = connect(&cluster).await;
    let nobody = broker.request("questions".into(), "?".into(), TIMEOUT).await;
    assert!(matches!(nobody, Err(BrokerError::NoResponders(subject)) if subject == "questions"));

    let mut questions = other.subscribe("questions".into()).await.unwrap();
    other.flush().await.unwrap();
    let answering = async {
        let question = questions.next().await.unwrap();
        assert_eq!((question.subject.as_str(), &question.payload[..]), ("questions", &b"?"[..]));
        other.respond(question.reply.unwrap(), "!".into()).await.unwrap();
    };
    // That the client has sent its subscription does not mean that the broker has read it.
    let asking = async {
        loop {
            match broker.request("questions".into(), "?".into(), TIMEOUT).await {
                Err(BrokerError::NoResponders(_)) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(&answer.unwrap()[..], b"!");

    // It listens, but does not answer.
    let late = broker.request("questions".into(), "?".into(), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(BrokerError::Timeout(_))), "{late:?}");
}

#[tokio::test]
async fn a_notification_reaches_those_who_listen() {
    let (_cluster, broker) = one().await;
    let mut wakes = broker.subscribe("wake.*".into()).await.unwrap();
    broker.notify("wake.1".into(), "7".into());
    let wake = wakes.next().await.unwrap();
    assert_eq!((wake.subject.as_str(), &wake.payload[..], wake.reply), ("wake.1", &b"7"[..], None));
}
