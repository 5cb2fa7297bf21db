"""Speaks for the Python SDKs: a JSON question a line comes in, a JSON answer a line goes out."""

import json
import sys
import time
from datetime import datetime, timezone


class Stripe:
    def sign(self, q):
        import stripe

        return {"stripe-signature": stripe.WebhookSignature.generate_signature_header(q["body"], q["secret"])}

    def verify(self, q):
        import stripe

        stripe.WebhookSignature.verify_header(q["body"], q["headers"].get("stripe-signature"), q["secret"], 300)


class Slack:
    def sign(self, q):
        from slack_sdk.signature import SignatureVerifier

        now = str(int(time.time()))
        signature = SignatureVerifier(q["secret"]).generate_signature(timestamp=now, body=q["body"])
        return {"x-slack-request-timestamp": now, "x-slack-signature": signature}

    def verify(self, q):
        from slack_sdk.signature import SignatureVerifier

        if not SignatureVerifier(q["secret"]).is_valid_request(q["body"], q["headers"]):
            raise ValueError("is_valid_request says no")


class Webhook:
    """svix and standardwebhooks have the same interface; Svix itself sends headers of its own name."""

    def __init__(self, module, name="webhook"):
        self.module = module
        self.name = name

    def webhook(self, q):
        return __import__(f"{self.module}.webhooks", fromlist=["Webhook"]).Webhook(q["secret"])

    def sign(self, q):
        # The libraries take a time without a zone for one in UTC.
        now = datetime.now(timezone.utc)
        return {
            f"{self.name}-id": q["id"],
            f"{self.name}-timestamp": str(int(now.timestamp())),
            f"{self.name}-signature": self.webhook(q).sign(q["id"], now, q["body"]),
        }

    def verify(self, q):
        self.webhook(q).verify(q["body"], q["headers"])


class CloudEvents:
    def make(self, q):
        from cloudevents.core.bindings.http import to_binary_event, to_structured_event
        from cloudevents.core.v1.event import CloudEvent

        attributes = {**q["attributes"], "time": datetime.fromisoformat(q["attributes"]["time"])}
        event = CloudEvent(attributes, q["data"])
        message = {"binary": to_binary_event, "structured": to_structured_event}[q["mode"]](event)
        return {"headers": message.headers, "body": message.body.decode()}

    def read(self, q):
        from cloudevents.core.bindings.http import HTTPMessage, from_http_event

        event = from_http_event(HTTPMessage(headers=q["headers"], body=q["body"].encode()))
        attributes = event.get_attributes()
        seen = {name: value if name != "time" else value.isoformat() for name, value in attributes.items()}
        return {"attributes": seen, "data": event.get_data()}


SDKS = {
    "stripe": Stripe(),
    "slack_sdk": Slack(),
    "svix": Webhook("svix"),
    "svix_own": Webhook("svix", "svix"),
    "standardwebhooks": Webhook("standardwebhooks"),
    "cloudevents": CloudEvents(),
}

for line in sys.stdin:
    question = json.loads(line)
    sdk = SDKS[question["sdk"]]
    if question["ask"] == "verify":
        try:
            sdk.verify(question)
            answer = {"verified": True}
        except Exception as error:  # Each SDK has its own.
            answer = {"verified": False, "why": f"{type(error).__name__}: {error}"}
    else:
        answer = getattr(sdk, question["ask"])(question)
    print(json.dumps(answer), flush=True)
