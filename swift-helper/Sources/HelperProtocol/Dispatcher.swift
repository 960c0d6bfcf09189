import Foundation

/// Answers requests, one after the other. It keeps nothing but the message that is being signed.
public final class Dispatcher {
    private let backend: EnclaveBackend
    private var signing: Signing?

    public init(backend: EnclaveBackend) {
        self.backend = backend
    }

    /// Answers one line, without its newline, by one line with it.
    public func answer(_ line: Data) -> Data {
        guard let request = try? JSONDecoder().decode(Request.self, from: line),
            (1...maxId).contains(request.id)
        else {
            return refuse(id: 0, HelperError(.badRequest, "not a JSON object with an id"))
        }
        do {
            return Answer(id: request.id, result: try run(request)).line()
        } catch {
            return refuse(id: request.id, HelperError(explaining: error, fallback: .internalError))
        }
    }

    /// The answer to a line that is longer than a line may be.
    public func answerToLongLine() -> Data {
        refuse(id: 0, HelperError(.badRequest, "a line has more than \(maxLineBytes) bytes"))
    }

    private func refuse(id: Int, _ error: HelperError) -> Data {
        Answer(id: id, error: error).line()
    }

    private func run(_ request: Request) throws -> Answer.Result {
        guard request.v == protocolVersion else {
            throw HelperError(.unsupportedVersion, "this helper speaks version \(protocolVersion)")
        }
        switch request.action {
        case "probe":
            return Answer.Result(
                helper: helperVersion, protocol: [protocolVersion], secureEnclave: backend.isAvailable,
                os: backend.os, arch: backend.arch)
        case "generate":
            try requireEnclave()
            let key = try backend.generate()
            return Answer.Result(blob: key.blob, publicKey: key.publicKey)
        case "public-key":
            let blob = try bytes(request.blob, "blob", max: maxBlobBytes)
            try requireEnclave()
            return Answer.Result(publicKey: try withKey { try backend.publicKey(of: blob) })
        case "sign-begin":
            signing = nil
            let blob = try bytes(request.blob, "blob", max: maxBlobBytes)
            try requireEnclave()
            let begun = try withKey { try backend.beginSigning(with: blob) }
            signing = begun
            return Answer.Result(publicKey: begun.publicKey)
        case "sign-update":
            let data = try bytes(request.data, "data", max: maxPieceBytes)
            try current().update(data)
            return Answer.Result()
        case "sign-end":
            let ended = try current()
            signing = nil
            return Answer.Result(signature: try ended.finish())
        case nil:
            throw HelperError(.badRequest, "no action")
        case let action?:
            throw HelperError(.unknownAction, "unknown action of \(action.utf8.count) bytes")
        }
    }

    private func requireEnclave() throws {
        if !backend.isAvailable { throw HelperError(.enclaveUnavailable, "this Mac has no Secure Enclave") }
    }

    /// What CryptoKit itself does not accept a key for is its blob. An error from elsewhere can pass: a key that is good
    /// must not be called bad because of it.
    private func withKey<T>(_ use: () throws -> T) throws -> T {
        do {
            return try use()
        } catch {
            let isOfBlob = error._domain == "CryptoKit.CryptoKitError"
            throw HelperError(explaining: error, fallback: isOfBlob ? .badBlob : .internalError)
        }
    }

    private func current() throws -> Signing {
        guard let signing else { throw HelperError(.badRequest, "no signature has been begun") }
        return signing
    }

    private func bytes(_ text: String?, _ field: String, max: Int) throws -> Data {
        guard let text, let data = Data(base64Encoded: text), (1...max).contains(data.count) else {
            throw HelperError(.badRequest, "\(field) is not base64 of 1 to \(max) bytes")
        }
        return data
    }
}

/// The largest integer that JavaScript has without gaps.
private let maxId = 9_007_199_254_740_991
