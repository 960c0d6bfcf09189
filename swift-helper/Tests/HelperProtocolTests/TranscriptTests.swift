import Foundation
import XCTest
@testable import HelperProtocol

/// Replays the transcripts that amesh's own tests replay too: what one side writes there the other side reads.
final class TranscriptTests: XCTestCase {
    func testSession() throws {
        try replay("session", with: GoldenBackend())
    }

    func testRequests() throws {
        try replay("requests", with: GoldenBackend())
    }

    func testRefusals() throws {
        try replay("refusals", with: GoldenBackend())
    }

    func testNoEnclave() throws {
        try replay("no_enclave", with: GoldenBackend(isAvailable: false))
    }

    /// One dispatcher, all lines in their order. Values are compared, not their spelling.
    private func replay(_ name: String, with backend: EnclaveBackend) throws {
        let dispatcher = Dispatcher(backend: backend)
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let file = folder.appendingPathComponent("Fixtures/\(name).jsonl")
        let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
        XCTAssertGreaterThan(lines.count, 3)
        for (index, line) in lines.enumerated() {
            let pair = try object(Data(line.utf8))
            let answer = dispatcher.answer(try requestLine(pair["request"]))
            XCTAssertEqual(answer.last, newline, "\(name) \(index + 1)")
            XCTAssertLessThanOrEqual(answer.count, maxLineBytes)
            let expected = try XCTUnwrap(pair["answer"])
            XCTAssertEqual(try sorted(try object(answer)), try sorted(expected), "\(name) \(index + 1)")
        }
    }

    /// A text stands for a line that is no JSON object.
    private func requestLine(_ request: Any?) throws -> Data {
        if let text = request as? String { return Data(text.utf8) }
        return try JSONSerialization.data(withJSONObject: try XCTUnwrap(request))
    }

    /// One spelling of a JSON value.
    private func sorted(_ value: Any) throws -> String {
        let data = try JSONSerialization.data(withJSONObject: value, options: [.sortedKeys])
        return String(decoding: data, as: UTF8.self)
    }

    private func object(_ data: Data) throws -> [String: Any] {
        try XCTUnwrap(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }
}
