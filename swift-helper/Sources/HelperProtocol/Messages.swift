import Foundation

/// The version of the protocol that this helper speaks.
public let protocolVersion = 1
/// The version of this helper.
public let helperVersion = "0.1.0"
/// Longest line of either side in bytes, its newline included.
public let maxLineBytes = 65_536
/// Longest blob of a key, in bytes.
public let maxBlobBytes = 8_192
/// Longest piece of a message, in bytes.
public let maxPieceBytes = 48_000

/// A request as it came. Fields that the protocol does not know are passed over.
struct Request: Decodable {
    let v: Int?
    let id: Int
    let action: String?
    let blob: String?
    let data: String?
}

/// An answer as it goes. Fields that are nil are left out.
struct Answer: Encodable {
    let v = protocolVersion
    let id: Int
    let ok: Bool
    let result: Result?
    let error: Failure?

    init(id: Int, result: Result) {
        self.id = id
        ok = true
        self.result = result
        error = nil
    }

    init(id: Int, error: HelperError) {
        self.id = id
        ok = false
        result = nil
        self.error = Failure(
            code: error.code, status: error.status, domain: error.domain, message: error.message)
    }

    /// What comes of a request; each action has its own fields of these.
    struct Result: Encodable {
        var helper: String?
        var `protocol`: [Int]?
        var secureEnclave: Bool?
        var os: String?
        var arch: String?
        var blob: Data?
        var publicKey: Data?
        var signature: Data?
    }

    struct Failure: Encodable {
        let code: ErrorCode
        let status: Int?
        let domain: String?
        let message: String
    }

    /// The answer as one line, its newline included.
    func line() -> Data {
        let encoder = JSONEncoder()
        encoder.dataEncodingStrategy = .base64
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Nothing in an answer can fail to be encoded: there are no floating point numbers in it.
        guard var line = try? encoder.encode(self) else { preconditionFailure("an answer without JSON") }
        line.append(newline)
        return line
    }
}

let newline: UInt8 = 0x0a
