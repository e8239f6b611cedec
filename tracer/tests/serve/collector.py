"""A receiver of OTLP logs, made of the official definitions, that answers as it is told.

collector.py PROTOCOL PORT ANSWERS [CERTIFICATE KEY]

PROTOCOL is grpc or http/protobuf, PORT 0 for any. ANSWERS is a JSON list with one answer for each request; the last one
is for all that follow. Each request is a line on stdout: when it came, its headers, its records, and how it was
answered. The first line is the port.

With `dns` as PROTOCOL it is a name server instead: any name is 127.0.0.1, and nothing else.
"""
import json, socket, ssl, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()


def say(line):
    with lock:
        print(json.dumps(line), flush=True)


def name_server(address):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    say(53)
    while True:
        asked, client = server.recvfrom(512)
        end = asked.index(b"\0", 12) + 5
        of_ipv4 = asked[end - 4 : end - 2] == b"\0\1"
        found = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\x04\x7f\0\0\1" if of_ipv4 else b""
        head = asked[:2] + b"\x81\x80\0\1" + (b"\0\1" if of_ipv4 else b"\0\0") + b"\0\0\0\0"
        server.sendto(head + asked[12:end] + found, client)


if sys.argv[1] == "dns":
    name_server(sys.argv[2])

import grpc
from google.protobuf import any_pb2, duration_pb2, unknown_fields
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs, logs_service_pb2_grpc as service

protocol, port, answers = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
certificate, key = sys.argv[4:6] if len(sys.argv) > 4 else (None, None)


def next_answer():
    with lock:
        return answers.pop(0) if len(answers) > 1 else answers[0]


def value(any_value):
    which = any_value.WhichOneof("value")
    if which == "array_value":
        return [value(each) for each in any_value.array_value.values]
    return getattr(any_value, which)


def attributes(pairs):
    keys = [pair.key for pair in pairs]
    assert len(keys) == len(set(keys)), keys
    return {pair.key: value(pair.value) for pair in pairs}


def received(request, headers, answer):
    rest = unknown_fields.UnknownFieldSet(request)
    assert len(rest) == 0, list(rest)
    records = []
    for of_resource in request.resource_logs:
        for scope in of_resource.scope_logs:
            for record in scope.log_records:
                records.append({
                    "resource": attributes(of_resource.resource.attributes), "scope": scope.scope.name,
                    "schemas": [of_resource.schema_url, scope.schema_url], "event": record.event_name,
                    "time": record.time_unix_nano, "observed": record.observed_time_unix_nano,
                    "severity": [record.severity_number, record.severity_text], "body": record.body.string_value,
                    "attributes": attributes(record.attributes),
                })
    say({"at": time.monotonic(), "headers": headers, "records": records, "answer": answer})


def response(answer):
    message = logs.ExportLogsServiceResponse()
    if "reject" in answer:
        message.partial_success.rejected_log_records = answer["reject"]
        message.partial_success.error_message = "too old"
    return message


class Logs(service.LogsServiceServicer):
    def Export(self, request, context):
        answer = next_answer()
        headers = {k: v if isinstance(v, str) else "" for k, v in context.invocation_metadata()}
        received(request, headers, answer)
        time.sleep(answer.get("sleep", 0))
        if "code" in answer:
            code = getattr(grpc.StatusCode, answer["code"])
            if "delay" in answer:
                status = status_pb2.Status(code=code.value[0], message="as told")
                delay = duration_pb2.Duration()
                delay.FromMilliseconds(int(answer["delay"] * 1000))
                packed = any_pb2.Any()
                packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
                status.details.append(packed)
                context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
            context.abort(code, "as told")
        return response(answer)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        answer = next_answer()
        request = logs.ExportLogsServiceRequest()
        request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["content-type"] == "application/x-protobuf"
        received(request, {**{k.lower(): v for k, v in self.headers.items()}, "path": self.path}, answer)
        time.sleep(answer.get("sleep", 0))
        if "break" in answer:
            return self.connection.close()
        body = response(answer).SerializeToString()
        if answer.get("status", 200) != 200:
            body = status_pb2.Status(code=14, message="as told").SerializeToString()
        self.send_response(answer.get("status", 200))
        if "retry-after" in answer:
            self.send_header("Retry-After", answer["retry-after"])
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


if protocol == "grpc":
    server = grpc.server(ThreadPoolExecutor(4))
    service.add_LogsServiceServicer_to_server(Logs(), server)
    if certificate:
        pair = tuple(open(path, "rb").read() for path in (key, certificate))
        port = server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    say(port)
    server.wait_for_termination()
else:
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    say(server.server_port)
    server.serve_forever()
