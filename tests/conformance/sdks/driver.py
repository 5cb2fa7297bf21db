"""Speaks for the Python SDKs: a JSON question a line comes in, a JSON answer a line goes out."""

import base64
import json
import sys
import time
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlencode


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


class SendGrid:
    def verify(self, q):
        from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader

        signature, timestamp = (q["headers"][name.lower()] for name in (EventWebhookHeader.SIGNATURE, EventWebhookHeader.TIMESTAMP))
        if not EventWebhook(q["secret"]).verify_signature(q["body"], signature, timestamp):
            raise ValueError("verify_signature says no")

    def sign(self, q):
        # The SDK verifies only; this is the library by which it does.
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from sendgrid.helpers.eventwebhook import EventWebhookHeader

        now = str(int(time.time()))
        key = load_pem_private_key(q["secret"].encode(), None)
        signature = key.sign((now + q["body"]).encode(), ec.ECDSA(hashes.SHA256()))
        return {
            EventWebhookHeader.SIGNATURE.lower(): base64.b64encode(signature).decode(),
            EventWebhookHeader.TIMESTAMP.lower(): now,
        }


class Twilio:
    """It signs the URL, with the fields of a form or the digest of another body."""

    class Fields(dict):
        """A form as the web frameworks have it, whose names may come more than once."""

        def getlist(self, name):
            return self[name]

    def covered(self, q):
        return self.Fields(parse_qs(q["body"], keep_blank_values=True)) if q["form"] else q["body"]

    def sign_url(self, q):
        from twilio.request_validator import RequestValidator

        validator = RequestValidator(q["secret"])
        url, params = q["url"], self.covered(q)
        if not q["form"]:
            url += ("&" if "?" in url else "?") + urlencode({"bodySHA256": validator.compute_hash(q["body"])})
            params = {}
        return {"url": url, "signature": validator.compute_signature(url, params)}

    def verify(self, q):
        from twilio.request_validator import RequestValidator

        signature = q["headers"]["x-twilio-signature"]
        if not RequestValidator(q["secret"]).validate(q["url"], self.covered(q), signature):
            raise ValueError("validate says no")


class CloudEvents:
    """Bodies are in base64; so is data that is no text, in an object of its own."""

    def make(self, q):
        from cloudevents.core.bindings.http import to_binary_event, to_structured_event
        from cloudevents.core.v1.event import CloudEvent

        attributes = {**q["attributes"], "time": datetime.fromisoformat(q["attributes"]["time"])}
        data = q["data"]
        if isinstance(data, dict) and "base64" in data:
            data = base64.b64decode(data["base64"])
        event = CloudEvent(attributes, data)
        message = {"binary": to_binary_event, "structured": to_structured_event}[q["mode"]](event)
        return {"headers": message.headers, "body": base64.b64encode(message.body).decode()}

    def read(self, q):
        from cloudevents.core.bindings.http import HTTPMessage, from_http_event

        event = from_http_event(HTTPMessage(headers=q["headers"], body=base64.b64decode(q["body"])))
        attributes = event.get_attributes()
        seen = {name: value if name != "time" else value.isoformat() for name, value in attributes.items()}
        data = event.get_data()
        if isinstance(data, bytes):
            data = {"base64": base64.b64encode(data).decode()}
        return {"attributes": seen, "data": data}


SDKS = {
    "stripe": Stripe(),
    "sendgrid": SendGrid(),
    "slack_sdk": Slack(),
    "svix": Webhook("svix"),
    "svix_own": Webhook("svix", "svix"),
    "standardwebhooks": Webhook("standardwebhooks"),
    "standardwebhooks_gitlab": Webhook("standardwebhooks"),
    "twilio": Twilio(),
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
