import Foundation

/// Why a request is not done. The names are part of the protocol (PROTOCOL.md).
public enum ErrorCode: String, Codable, CaseIterable, Sendable {
    case badRequest = "bad-request"
    case unsupportedVersion = "unsupported-version"
    case unknownAction = "unknown-action"
    case enclaveUnavailable = "enclave-unavailable"
    case badBlob = "bad-blob"
    case missingEntitlement = "missing-entitlement"
    case interactionNotAllowed = "interaction-not-allowed"
    case userCanceled = "user-canceled"
    case accessDenied = "access-denied"
    case internalError = "internal"
}

/// An error as it is answered.
public struct HelperError: Error, Equatable {
    public let code: ErrorCode
    public let message: String
    /// Apple's number for it, in `domain`; nil where it did not come from Apple.
    public let status: Int?
    public let domain: String?

    public init(_ code: ErrorCode, _ message: String, status: Int? = nil, domain: String? = nil) {
        self.code = code
        self.message = String(message.prefix(maxMessageCharacters))
        self.status = status
        self.domain = domain.map(printableWord)
    }

    /// What an error of CryptoKit, Security or CryptoTokenKit means.
    ///
    /// - Parameter fallback: for numbers without a meaning of their own here.
    public init(explaining error: Error, fallback: ErrorCode) {
        if let known = error as? HelperError {
            self = known
            return
        }
        // What `as NSError` would give, which only Apple's systems bridge.
        let code = meanings[error._domain]?[error._code] ?? fallback
        self.init(code, error.localizedDescription, status: error._code, domain: error._domain)
    }
}

/// Messages are for developers; a long one would only fill the line.
private let maxMessageCharacters = 500
private let maxDomainCharacters = 64

/// SecBase.h, TKError.h and LAError.h.
private let meanings: [String: [Int: ErrorCode]] = [
    "NSOSStatusErrorDomain": [
        -34018: .missingEntitlement,  // errSecMissingEntitlement
        -25308: .interactionNotAllowed,  // errSecInteractionNotAllowed
        -25315: .interactionNotAllowed,  // errSecInteractionRequired
        -25320: .interactionNotAllowed,  // errSecInDarkWake
        -25293: .accessDenied,  // errSecAuthFailed
        -128: .userCanceled,  // errSecUserCanceled
        -50: .badBlob,  // errSecParam
        -26275: .badBlob,  // errSecDecode
    ],
    "CryptoTokenKit": [
        -3: .badBlob,  // TKErrorCodeCorruptedData
        -4: .userCanceled,  // TKErrorCodeCanceledByUser
        -5: .accessDenied,  // TKErrorCodeAuthenticationFailed
        -6: .badBlob,  // TKErrorCodeObjectNotFound
        -8: .badBlob,  // TKErrorCodeBadParameter
        -9: .interactionNotAllowed,  // TKErrorCodeAuthenticationNeeded
    ],
    "com.apple.LocalAuthentication": [
        -1: .accessDenied,  // LAErrorAuthenticationFailed
        -2: .userCanceled,  // LAErrorUserCancel
        -1004: .interactionNotAllowed,  // LAErrorNotInteractive
    ],
]

/// The characters that the protocol allows in a word.
private func printableWord(_ text: String) -> String {
    let allowed = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+ -")
    let word = String(text.prefix(maxDomainCharacters).map { allowed.contains($0) ? $0 : "_" })
    return word.isEmpty ? "none" : word
}
